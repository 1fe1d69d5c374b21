//! One check of all files: what changed, and when to check again.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::Notify;
use tracing::debug;

use super::{
    FileChange,
    debounce::{Clock, Debounce},
    walk::walk,
    watch::Watches,
};

/// Checks files. It blocks.
pub(super) struct Scanner {
    roots: Vec<PathBuf>,
    debounce: Debounce,
    watches: Watches,
}

/// The result of a check.
pub(super) struct Scan {
    /// In the order of the paths.
    pub(super) changes: Vec<FileChange>,
    /// When to check again, with or without an event.
    pub(super) due: Option<Duration>,
    /// Whether every later change causes an event, as far as the file system supports it.
    pub(super) is_watched: bool,
}

impl Scanner {
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            debounce: Debounce::default(),
            watches: Watches::new(),
        }
    }

    /// Notified when there is a reason to check.
    pub(super) fn wake(&self) -> Arc<Notify> {
        self.watches.wake()
    }

    /// Checks all files, and reads those that changed.
    pub(super) fn scan(&mut self) -> Scan {
        let walk = walk(&self.roots);
        // The clock is read after the walk, so that no state is considered older than it was when it was read.
        let clock = Clock {
            now: Instant::now(),
            stamp: SystemTime::now(),
        };
        let mut changes = self.debounce.compare(walk.found, clock);
        if self.watches.replace(walk.places) {
            changes.look_again(Duration::ZERO);
        }
        if changes.reads > 0 {
            debug!(
                read = changes.reads,
                changed = changes.changes.len(),
                "looked at files"
            );
        }
        Scan {
            changes: changes.changes,
            due: changes.due,
            is_watched: self.watches.is_complete(),
        }
    }
}
