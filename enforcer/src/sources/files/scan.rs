//! One look at the files: what changed, and when to look again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::debug;

use super::{
    FileChange, RESCAN, RESCAN_UNWATCHED, SHARE,
    debounce::{Changes, Clock, Debounce, Look},
    hints::{Hints, Wake},
    limit::{LIMITS, Tally},
    read::is_absence,
    walk::{Found, walk},
    watch::Watches,
};
use crate::stamp::Stamp;

/// Looks at files. It blocks.
pub(super) struct Scanner {
    roots: Vec<PathBuf>,
    debounce: Debounce,
    watches: Watches,
    /// What the last walk has counted, and what was found since.
    tally: Tally,
    /// When to walk although nothing was told.
    next_walk: Instant,
}

/// The result of a look.
pub(super) struct Scan {
    /// In the order of the paths.
    pub(super) changes: Vec<FileChange>,
    /// When to look again, with or without an event.
    pub(super) due: Duration,
}

impl Scanner {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            debounce: Debounce::default(),
            watches: Watches::new(),
            tally: Tally::default(),
            next_walk: Instant::now(),
        }
    }

    /// Notified when there is a reason to look.
    pub(super) fn wake(&self) -> Arc<Wake> {
        self.watches.wake()
    }

    /// Has the next look be one at all files.
    pub(super) fn look_at_all(&mut self) {
        self.next_walk = Instant::now();
    }

    /// The files of which a change is held back.
    pub(super) fn waiting(&self) -> &BTreeSet<PathBuf> {
        self.debounce.waiting()
    }

    /// Looks at the files that were told of, or at all, and reads those that changed.
    pub(super) fn scan(&mut self) -> Scan {
        let began = Instant::now();
        let hints = self.watches.take_hints();
        let told = if hints.needs_walk || began >= self.next_walk {
            None
        } else {
            self.told(&hints)
        };
        let changes = match told {
            Some(found) => self.debounce.compare_some(found, &look(hints)),
            None => self.walk(began, hints),
        };
        if changes.reads > 0 {
            debug!(
                read = changes.reads,
                changed = changes.changes.len(),
                "looked at files"
            );
        }
        let walk = self.next_walk.saturating_duration_since(Instant::now());
        Scan {
            changes: changes.changes,
            due: changes.due.map_or(walk, |due| due.min(walk)),
        }
    }

    /// Finds all files.
    fn walk(&mut self, began: Instant, hints: Hints) -> Changes {
        let walk = walk(&self.roots);
        let mut changes = self.debounce.compare(walk.found, &look(hints));
        self.tally = walk.tally;
        let is_new = self.watches.replace(walk.places);
        let rescan = if self.watches.is_complete() {
            RESCAN
        } else {
            RESCAN_UNWATCHED
        };
        self.next_walk = if is_new {
            changes.look_soon(Duration::ZERO);
            began
        } else {
            Instant::now() + rescan.max(began.elapsed() * SHARE)
        };
        changes
    }

    /// What there is of the files that were told of, and of those that have to last; None if a walk has to find it.
    fn told(&mut self, hints: &Hints) -> Option<BTreeMap<PathBuf, Option<Found>>> {
        let mut found = BTreeMap::new();
        for path in hints.files.iter().chain(self.debounce.waiting()) {
            if self.roots.contains(path) {
                return None;
            }
            let is_known = self.debounce.knows(path);
            let file = match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() => {
                    self.tally.add_file(metadata.len());
                    Some(Found::File(Stamp::of(&metadata)))
                }
                Err(error) if is_absence(&error) && is_known => None,
                Err(error) if is_absence(&error) && hints.files.contains(path) => continue,
                Ok(_) | Err(_) => return None,
            };
            found.insert(path.clone(), file);
        }
        // A file that was counted before is counted again until the next walk.
        self.tally.excess(&LIMITS).is_none().then_some(found)
    }
}

/// The clock is read after the files' stamps, so that no state is considered older than it was when it was read.
fn look(hints: Hints) -> Look {
    Look {
        clock: Clock::default(),
        hints,
    }
}
