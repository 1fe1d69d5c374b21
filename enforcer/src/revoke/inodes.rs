//! The inodes of listed sockets, used to find the sockets that threads have open and that are not listed.

use std::collections::HashSet;

/// The most inodes that are stored for one look: 2.5 MB.
const MOST: usize = 262_144;

/// Inodes of listed sockets. One that does not fit counts as not listed: its socket is then opened and asked for its
/// network namespace, which costs time but no memory.
pub(super) struct Inodes {
    seen: HashSet<u32>,
    most: usize,
    /// Whether some are left out.
    is_cut: bool,
}

impl Default for Inodes {
    fn default() -> Self {
        Self::at_most(MOST)
    }
}

impl Inodes {
    fn at_most(most: usize) -> Self {
        Self {
            seen: HashSet::new(),
            most,
            is_cut: false,
        }
    }

    /// Adds one, if there is room.
    pub(super) fn insert(&mut self, inode: u32) {
        if self.seen.len() < self.most {
            self.seen.insert(inode);
        } else if !self.seen.contains(&inode) {
            self.is_cut = true;
        }
    }

    pub(super) fn contains(&self, inode: u32) -> bool {
        self.seen.contains(&inode)
    }

    /// The number of stored inodes, if some are left out.
    pub(super) fn limit(&self) -> Option<usize> {
        self.is_cut.then_some(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_remembered_than_fit_and_the_rest_is_told() {
        let mut inodes = Inodes::at_most(2);
        for inode in [1, 2, 1, 2] {
            inodes.insert(inode);
        }
        assert_eq!(inodes.limit(), None, "all are remembered");
        inodes.insert(3);
        assert_eq!([1, 2, 3].map(|inode| inodes.contains(inode)), [true, true, false]);
        assert_eq!(inodes.limit(), Some(2));
    }
}
