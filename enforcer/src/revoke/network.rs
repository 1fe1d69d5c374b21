//! A network namespace, found by any path to it.

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

/// Device and inode: unique among the namespaces that exist at the same time.
pub(super) type NetworkId = (u64, u64);

/// A namespace that stays alive while this lives.
#[derive(Debug)]
pub(super) struct Network {
    file: File,
    pub(super) id: NetworkId,
}

impl Network {
    /// Opens the namespace behind a link such as `/proc/1/ns/net`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path)?.try_into()
    }

    /// The namespace behind a link, without keeping it open.
    pub(super) fn id(path: &Path) -> io::Result<NetworkId> {
        fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
    }

    /// Runs `work` in it, in a thread of its own: a pool's thread would stay in the namespace.
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
