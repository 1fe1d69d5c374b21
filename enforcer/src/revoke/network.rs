//! A network namespace, by whatever leads to it.

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

/// Device and inode: no two that live at the same time have the same.
pub(super) type NetworkId = (u64, u64);

/// One that stays while this lives.
#[derive(Debug)]
pub(super) struct Network {
    file: File,
    pub(super) id: NetworkId,
}

impl Network {
    /// The one behind a link such as `/proc/1/ns/net`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path)?.try_into()
    }

    /// Which one a link leads to, without keeping it.
    pub(super) fn id(path: &Path) -> io::Result<NetworkId> {
        fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Runs `work` in it, in a thread that ends with it: a thread of a pool would stay there.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .context("entering a workload's network namespace")?;
                work()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl TryFrom<File> for Network {
    type Error = io::Error;

    fn try_from(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let id = (metadata.dev(), metadata.ino());
        Ok(Self { file, id })
    }
}

impl TryFrom<OwnedFd> for Network {
    type Error = io::Error;

    fn try_from(file: OwnedFd) -> io::Result<Self> {
        File::from(file).try_into()
    }
}
