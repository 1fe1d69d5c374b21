//! Follows the registry's files and folders, and sends a file's content whenever it changes.
//!
//! ```text
//! inotify -> a short pause -> walk -> Debounce: what changed, and is it over? -> read -> [FileChange]
//! every few seconds ------------->
//! ```
//!
//! A folder stands for every `*.yaml`, `*.yml` and `*.json` in it and, unlike `kubectl -f` without `-R`, in all
//! folders below it, because registries are laid out by team. Names that begin with `.` or `#` are ignored: editors'
//! temporary files, and the `..data` of a mounted ConfigMap, whose files are reached by the links beside it.
//! Symbolic links are followed, and each folder is read once, however many paths lead to it. A link or folder that
//! would exceed a [`limit`] is left out and reported; what was read from it before stays in force. A file that is
//! named explicitly is read whatever its name.
//!
//! **Architecture Invariant:** an inotify event only causes a check and is never trusted, so that a lost event costs
//! time and not correctness. A change that removes something (a file that is gone or shorter) is accepted only after
//! it has lasted, because a file looks the same while it is being written.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

mod debounce;
mod limit;
mod read;
mod scan;
mod walk;
mod watch;

use super::Sink;
use scan::Scanner;

/// The most bytes of a file. A registry of 50,000 entries in one file is about as large.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// After an event, the files are checked when nothing has happened for this long...
const DEBOUNCE: Duration = Duration::from_millis(30);
/// ...or when this much time has passed, because a process writes continuously.
const DEBOUNCE_LIMIT: Duration = Duration::from_millis(200);
/// The interval of checks without an event: for network file systems and lost events.
const RESCAN: Duration = Duration::from_secs(3);
/// The same if the kernel does not watch a folder.
const RESCAN_UNWATCHED: Duration = Duration::from_millis(500);

/// Checks without an event take at most this fraction of the time (as its inverse).
const SHARE: u32 = 20;

/// The new state of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// The configured path, or the configured folder joined with the path below it.
    pub path: PathBuf,
    /// Its present content.
    pub content: Content,
}

/// The content at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The whole file.
    Text(String),
    /// Nothing any more: the former content is no longer valid.
    Gone,
    /// Something that cannot be read, with the reason in one line that follows the path: the former content stays
    /// valid. Also used for folders.
    Unreadable(String),
}

/// Follows `paths` until `cancel`. The first batch contains everything that exists and is sent even if it is empty;
/// later ones contain the changes, in the order of the paths, and are never empty.
///
/// # Errors
/// If the receiver is closed. Nothing that happens to the files is an error.
pub async fn follow(
    paths: Vec<PathBuf>,
    sink: Sink<Vec<FileChange>>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    cancel
        .run_until_cancelled(follow_forever(paths, sink))
        .await
        .unwrap_or(Ok(()))
}

/// Everything that `path` stands for, once, in the order of the paths.
pub fn read_all(path: &Path) -> Vec<FileChange> {
    let found = walk::walk(&[path.to_owned()]).found.into_iter();
    found
        .map(|(path, found)| FileChange {
            content: content(&path, found),
            path,
        })
        .collect()
}

fn content(path: &Path, found: walk::Found) -> Content {
    match found {
        walk::Found::Missing => Content::Gone,
        walk::Found::Unreadable(reason) => Content::Unreadable(reason),
        walk::Found::File(_) => read::read(path).map_or(Content::Gone, |reading| reading.content),
    }
}

async fn follow_forever(paths: Vec<PathBuf>, sink: Sink<Vec<FileChange>>) -> anyhow::Result<()> {
    let mut scanner = Scanner::new(paths);
    let wake = scanner.wake();
    let mut is_first = true;
    loop {
        let began = Instant::now();
        let scanning = tokio::task::spawn_blocking(move || {
            let scan = scanner.scan();
            (scanner, scan)
        });
        let scan;
        (scanner, scan) = scanning.await.context("looking at the registry's files")?;
        sink.beat();
        let cost = began.elapsed();
        if (is_first || !scan.changes.is_empty()) && !sink.send(scan.changes).await {
            bail!("nobody takes the registry's files any more");
        }
        is_first = false;
        let rescan = if scan.is_watched { RESCAN } else { RESCAN_UNWATCHED };
        let rescan = rescan.max(cost * SHARE);
        let due = scan.due.map_or(rescan, |due| due.min(rescan));
        reason_to_look(&wake, Instant::now() + due, cost).await;
    }
}

/// Waits for an event and the pause after it, or for `due`. An expensive check is not repeated at once.
async fn reason_to_look(wake: &Notify, due: Instant, cost: Duration) {
    tokio::select! {
        () = sleep_until(due) => return,
        () = wake.notified() => {}
    }
    let deadline = Instant::now() + DEBOUNCE_LIMIT;
    let pause = DEBOUNCE.max(cost.min(DEBOUNCE_LIMIT));
    while Instant::now() < deadline {
        tokio::select! {
            () = sleep_until(deadline.min(Instant::now() + pause)) => return,
            () = wake.notified() => {}
        }
    }
}
