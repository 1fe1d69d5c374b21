//! Limits on the size of a registry of files.
//!
//! A link to `/usr` in a registry is a mistake that would delay a start by minutes, and use hundreds of megabytes
//! and all of the kernel's watches. A link or folder that exceeds a limit is left out as a whole, so that the result
//! does not depend on the order in which folders are read.

use super::SIZE_LIMIT;

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Watched folders: those with files, and those on the path to them.
    pub(super) folders: usize,
    /// Files that are read.
    pub(super) files: usize,
    /// Bytes of these files.
    pub(super) bytes: u64,
    /// Names of any kind in the folders.
    pub(super) names: usize,
}

/// The limits in use. 64 MiB are about 200,000 ServiceEntries.
pub(super) const LIMITS: Limits = Limits {
    folders: 4096,
    files: 65_536,
    bytes: 4 * SIZE_LIMIT,
    names: 131_072,
};

/// How many times the limit of names may be read for one registry, including what is then left out.
const PATIENCE: usize = 8;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) folders: usize,
    pub(super) files: usize,
    pub(super) bytes: u64,
    pub(super) names: usize,
}

impl Tally {
    /// Counts a file.
    pub(super) fn add_file(&mut self, size: u64) {
        self.files += 1;
        // A larger one is not read.
        self.bytes += if size > SIZE_LIMIT { 0 } else { size };
    }

    /// Which limit is exceeded, as the rest of a sentence.
    pub(super) fn excess(&self, limits: &Limits) -> Option<String> {
        let Limits {
            folders,
            files,
            bytes,
            names,
        } = *limits;
        let what = if self.folders > folders {
            format!("{folders} folders")
        } else if self.files > files {
            format!("{files} files")
        } else if self.bytes > bytes {
            format!("{} MiB", bytes >> 20)
        } else if self.names > names {
            format!("{names} names in its folders")
        } else {
            return None;
        };
        Some(format!(
            "is not read, and what was read below it before stays in force: with it the registry would have more than \
             {what}; remove it, or name the folders that you need instead"
        ))
    }
}

impl Limits {
    /// The most names that are read in total.
    pub(super) fn work(&self) -> usize {
        self.names * PATIENCE
    }
}
