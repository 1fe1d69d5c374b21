//! What the kernel has told of names since the last look, and when that is a reason to look again.
//!
//! ```text
//! inotify -> Hints: which names, and whether what is there is whole -> Wake: now, or later
//! ```
//!
//! **Architecture Invariant:** a hint says where to look and what need not be waited for, never what is there. A name
//! that was not told of is looked at by the next walk.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::sync::Notify;

use super::walk::{Interest, absolute, is_passed_over, is_wanted, steps};
use crate::stamp::Inode;

/// More names than these are found by a walk.
const NAMES_LIMIT: usize = 1024;

/// Reasons to look.
#[derive(Default)]
pub(super) struct Wake {
    /// Something has changed.
    pub(super) now: Notify,
    /// A file is being written, by somebody who may never close it.
    pub(super) later: Notify,
}

/// What was told of a name last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is being written.
    Open,
    /// It was written, and closed.
    Closed,
    /// It was moved there, so that it was written before.
    Moved,
    /// It is gone, or something else about it has changed.
    Changed,
}

/// What was told since the last look.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// By the path of the folder as it is watched, with the name.
    told: BTreeMap<PathBuf, Told>,
    /// The same names, by the path by which they are read.
    pub(super) files: BTreeSet<PathBuf>,
    /// Whether only a walk finds what has changed.
    pub(super) needs_walk: bool,
    /// The watched folders.
    watched: Arc<BTreeMap<Inode, PathBuf>>,
}

impl Hints {
    /// Nothing is known of single names.
    fn forget(&mut self) {
        self.told.clear();
        self.files.clear();
        self.needs_walk = true;
    }

    /// What was told of the file that is reached by `path`, by whatever links: it counts as moved if a part of the path
    /// was.
    pub(super) fn of(&self, path: &Path) -> Told {
        let mut said = Told::Changed;
        if self.told.is_empty() {
            return said;
        }
        for step in steps(Path::new("/"), &absolute(path)) {
            let watched = fs::metadata(&step.folder)
                .ok()
                .and_then(|folder| self.watched.get(&Inode::of(&folder)));
            let told = watched.and_then(|folder| self.told.get(&folder.join(&step.name)));
            said = match (told, said) {
                // A link is made in one step.
                (Some(Told::Moved), _) => Told::Moved,
                (Some(Told::Open), _) if step.is_link => Told::Moved,
                (Some(Told::Open), _) => Told::Open,
                (Some(Told::Closed), said) if said != Told::Moved => Told::Closed,
                (_, said) => said,
            };
        }
        said
    }
}

/// What is watched for, and what was told.
#[derive(Default)]
pub(super) struct State {
    pub(super) interests: BTreeMap<PathBuf, Interest>,
    /// Watched paths that were moved or removed: the watch may be dead or elsewhere, and what is at the path now may
    /// have the same inode number.
    pub(super) stale: BTreeSet<PathBuf>,
    hints: Hints,
}

/// When to look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Later,
    Never,
}

impl State {
    /// What was told since the last call, of folders that are watched under these paths.
    pub(super) fn take(&mut self, watched: Arc<BTreeMap<Inode, PathBuf>>) -> Hints {
        Hints {
            watched,
            ..mem::take(&mut self.hints)
        }
    }

    /// Events were lost.
    pub(super) fn lose(&mut self, wake: &Wake) {
        self.hints.forget();
        wake.now.notify_one();
    }

    pub(super) fn note(&mut self, event: &Event, wake: &Wake) {
        if event.need_rescan() {
            return self.lose(wake);
        }
        let Some(told) = told(event.kind) else { return };
        let removes = matches!(
            event.kind,
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
        );
        for path in &event.paths {
            if self.interests.contains_key(path) {
                self.hints.needs_walk = true;
                wake.now.notify_one();
                if removes {
                    self.stale.insert(path.clone());
                }
            }
            match self.note_name(path, told, event.kind) {
                When::Now => wake.now.notify_one(),
                When::Later => wake.later.notify_one(),
                When::Never => {}
            }
        }
    }

    fn note_name(&mut self, path: &Path, told: Told, kind: EventKind) -> When {
        let interest = path.parent().and_then(|folder| self.interests.get(folder));
        let Some((interest, name)) = interest.zip(path.file_name()) else {
            return When::Never;
        };
        let read_as = interest.read_as.as_ref().filter(|_| !is_passed_over(name));
        let read_as = read_as.map(|folder| folder.join(name));
        if interest.names.contains(name) {
            self.hints.needs_walk = true;
        } else if !read_as.as_ref().is_some_and(|_| is_reason(path, name, kind)) {
            return When::Never;
        } else if kind == EventKind::Create(CreateKind::Folder) || !is_wanted(name) {
            self.hints.needs_walk = true;
        }
        if self.hints.told.len() >= NAMES_LIMIT {
            self.hints.forget();
        }
        self.hints.files.extend(read_as);
        let said = self.hints.told.entry(path.to_owned()).or_insert(told);
        if !(told == Told::Closed && *said == Told::Moved) {
            *said = told;
        }
        if told == Told::Open && !is_link(path) {
            When::Later
        } else {
            When::Now
        }
    }
}

/// What an event says of its name; None if nothing.
fn told(kind: EventKind) -> Option<Told> {
    Some(match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Told::Closed,
        // Our own reading must not cause another read.
        EventKind::Access(_) => return None,
        // Both names were told of before.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return None,
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Told::Moved,
        EventKind::Create(CreateKind::Folder) => Told::Changed,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => Told::Open,
        _ => Told::Changed,
    })
}

/// Whether a name in a folder that is read matters: a file to read, or what may lead to some.
fn is_reason(path: &Path, name: &OsStr, kind: EventKind) -> bool {
    if is_wanted(name) || kind == EventKind::Create(CreateKind::Folder) {
        return true;
    }
    // What leads to files and goes is a watched folder, or a name on the path to one.
    let comes = matches!(
        kind,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(RenameMode::To))
    );
    comes && fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink() || it.is_dir())
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}
