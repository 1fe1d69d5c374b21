//! Follows the registry's files and folders, and sends what is in a file whenever that changes.
//!
//! ```text
//! inotify -> a short pause -> walk -> Debounce: what changed, and is it over? -> read -> [FileChange]
//! every few seconds ------------->
//! ```
//!
//! A folder stands for every `*.yaml`, `*.yml` and `*.json` in it and, unlike `kubectl -f` without `-R`, in all
//! folders below it, because registries are laid out by team. Names that begin with `.` or `#` are passed over:
//! editors' temporary files, and the `..data` of a mounted ConfigMap, whose files are reached by the links beside
//! it. Symbolic links are followed, and each folder is read once, however many ways lead to it. A link or folder with which
//! there would be too much ([`limit`]) is left out and reported; what was taken from it before stays in force. A file that is
//! named itself is read whatever its name.
//!
//! **Architecture Invariant:** what inotify says is only ever a reason to look, never what is believed, so that a
//! lost event costs seconds and not correctness. What takes something away (a file that is gone or shorter) is
//! believed only after it has lasted, because that is also how a file looks while it is being written.

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

/// Bytes of a file at most. A registry of 50,000 entries in one file is about as large.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// After an event, one look is worth it when nothing has happened for this long...
const DEBOUNCE: Duration = Duration::from_millis(30);
/// ...or when this much time has passed, because somebody never stops writing.
const DEBOUNCE_LIMIT: Duration = Duration::from_millis(200);
/// A look without an event: for network file systems, and events that were lost.
const RESCAN: Duration = Duration::from_secs(3);
/// The same where the kernel would not watch a folder.
const RESCAN_UNWATCHED: Duration = Duration::from_millis(500);

/// A look without an event takes one part of so many of the time.
const SHARE: u32 = 20;

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileChange {
    /// As it was named, or the named folder joined with what is below it.
    pub path: PathBuf,
    /// What is there now.
    pub content: Content,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of the file.
    Text(String),
    /// Nothing any more: what it said no longer holds.
    Gone,
    /// Something that cannot be taken, with the reason in one line that goes after the path: what it said before
    /// still holds. Also said of folders.
    Unreadable(String),
}

/// Follows `paths` until `cancel`. The first batch holds all that is there and is sent even if it is empty; later
/// ones hold what changed, in the order of the paths, and are never empty.
///
/// # Errors
/// If nobody receives any more. Nothing that happens to the files is an error.
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

/// Waits for an event and the pause after it, or for `due`. A look that cost much is not repeated at once.
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
