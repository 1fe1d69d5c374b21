//! Leaves out what exceeds a limit.

use std::path::PathBuf;

use super::{Inode, Tally, Walk};

/// A limit is exceeded because of the step at this depth.
pub(super) struct Excess {
    depth: usize,
    why: String,
}

#[derive(Default)]
pub(super) struct Added {
    pub(super) found: Vec<PathBuf>,
    pub(super) places: Vec<PathBuf>,
    pub(super) seen: Vec<Inode>,
}

/// The state at one moment.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) found: usize,
    pub(super) places: usize,
    pub(super) seen: usize,
    pub(super) tally: Tally,
}

impl Walk {
    /// Checks whether a limit is exceeded, and what causes it: the first link on the path, else an entry of the
    /// root, else the root.
    pub(super) fn weigh(&mut self) {
        if self.excess.is_some() {
            return;
        }
        self.tally.folders = self.places.len();
        let is_endless = self.work > self.limits.work();
        let Some(why) = self.tally.excess(&self.limits) else {
            return;
        };
        let link = self.trail.iter().position(|step| step.is_link);
        let inner = link.unwrap_or_else(|| 1.min(self.trail.len().saturating_sub(1)));
        let depth = if is_endless { 0 } else { inner };
        self.excess = Some(Excess { depth, why });
    }

    /// Leaves out the entry at `depth`, if it causes the excess.
    pub(super) fn leave_out(&mut self, depth: usize, path: PathBuf, mark: Mark) {
        let Some(excess) = self.excess.take_if(|excess| excess.depth == depth) else {
            return;
        };
        for path in self.added.found.drain(mark.found..) {
            self.found.remove(&path);
        }
        for path in self.added.places.drain(mark.places..) {
            self.places.remove(&path);
        }
        for inode in self.added.seen.drain(mark.seen..) {
            self.seen.remove(&inode);
        }
        self.tally = mark.tally;
        self.unreadable(path, excess.why);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            found: self.added.found.len(),
            places: self.added.places.len(),
            seen: self.added.seen.len(),
            tally: self.tally,
        }
    }
}
