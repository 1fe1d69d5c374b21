//! Follows the registry's files and folders, and sends a file's content whenever it changes.
//!
//! ```text
//! inotify -> Pace -> the files that were told of -> Debounce: what changed, and is it over? -> read -> [FileChange]
//! every few seconds -> walk: all files ----------->
//! ```
//!
//! A folder stands for every `*.yaml`, `*.yml` and `*.json` in it and, unlike `kubectl -f` without `-R`, in all
//! folders below it, because registries are laid out by team. Names that begin with `.` or `#` are ignored: editors'
//! temporary files, and the `..data` of a mounted ConfigMap, whose files are reached by the links beside it.
//! Symbolic links are followed, and each folder is read once, however many paths lead to it. A link or folder that
//! would exceed a [`limit`] is left out and reported; what was read from it before stays in force. A file that is
//! named explicitly is read whatever its name.
//!
//! **Architecture Invariant:** an inotify event causes a check and says what need not be waited for; what is there is
//! read from the files, so that a lost event costs time and not correctness. A change that removes something (a file
//! that is gone or shorter) is accepted only after it has lasted, because a file looks the same while it is being
//! written. It is accepted at once where another file was moved to that name, or to a link on the way there, as careful
//! programs and the kubelet do it: that was written before. A file that is written in place, closed or not, is accepted
//! once it has stayed as it is for a moment: more may be appended.
//!
//! The first event is acted on at once. While events go on, looks become rarer ([`pace`]), and a look costs what was told
//! of and not what there is, so that whoever writes all the time costs little.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

mod debounce;
mod hints;
mod limit;
mod owed;
mod pace;
mod read;
mod scan;
mod walk;
mod watch;

use super::Sink;
use owed::Owed;
use pace::Pace;
use scan::Scanner;

/// The most bytes of a file. A registry of 50,000 entries in one file is about as large.
pub const SIZE_LIMIT: u64 = 16 << 20;

/// A file that is being written is looked at after this time, and accepted if it has not changed for as long.
const DEBOUNCE: Duration = Duration::from_millis(30);
/// The interval of checks without an event: for network file systems and lost events.
const RESCAN: Duration = Duration::from_secs(3);
/// The same if the kernel does not watch a folder.
const RESCAN_UNWATCHED: Duration = Duration::from_millis(500);

/// Checks without an event take at most this fraction of the time (as its inverse).
const SHARE: u32 = 20;

/// Asks for a look at all files. The answer comes once what was there at that time has been sent, also what is held back
/// at first because more may be written: how many batches were sent until then.
pub type Question = oneshot::Sender<u64>;

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
    questions: mpsc::Receiver<Question>,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    cancel
        .run_until_cancelled(follow_forever(paths, sink, questions))
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

async fn follow_forever(
    paths: Vec<PathBuf>,
    sink: Sink<Vec<FileChange>>,
    mut questions: mpsc::Receiver<Question>,
) -> anyhow::Result<()> {
    let mut scanner = Scanner::new(paths);
    let mut pace = Pace::new(scanner.wake());
    let mut owed = Owed::default();
    let mut sent = 0;
    loop {
        let began = Instant::now();
        while let Ok(question) = questions.try_recv() {
            owed.add(question);
        }
        if owed.begins() {
            scanner.look_at_all();
        }
        let scanning = tokio::task::spawn_blocking(move || {
            let scan = scanner.scan();
            (scanner, scan)
        });
        let scan;
        (scanner, scan) = scanning.await.context("looking at the registry's files")?;
        sink.beat();
        let cost = began.elapsed();
        if sent == 0 || !scan.changes.is_empty() {
            if !sink.send(scan.changes).await {
                bail!("nobody takes the registry's files any more");
            }
            sent += 1;
        }
        owed.pay(scanner.waiting(), sent);
        tokio::select! {
            () = pace.rest(Instant::now() + scan.due, cost) => {}
            Some(question) = questions.recv() => owed.add(question),
        }
    }
}
