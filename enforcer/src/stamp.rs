//! What tells one state of a file from another without reading it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

/// A time stamp within this of now may be shared by a later write: ticks are 10 ms on local file systems, and 2 s
/// on FAT and old network file systems.
const GRANULARITY: Duration = Duration::from_secs(2);

/// A file or folder, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
}

/// One state of a file. The time of the last change of status is among it, because users can set the time of the
/// last write (`cp -p`, `rsync -t`) but not that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: Inode,
    pub(crate) size: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl Inode {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: Inode::of(metadata),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether another state could have the same stamp at `wall`: it has to be read again later.
    pub(crate) fn is_recent(&self, wall: SystemTime) -> bool {
        let seconds = u64::try_from(self.changed.0).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        // A clock that was set back leaves stamps in the future; they are no reason to read for ever.
        let distance = match wall.duration_since(changed) {
            Ok(age) => age,
            Err(ahead) => ahead.duration(),
        };
        distance <= GRANULARITY
    }
}
