//! The network namespaces in which a cgroup's processes are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};
use enforcer_common::CgroupId;
use nix::sched::{CloneFlags, setns};

/// A cgroup with those below it, and the namespaces of all their processes by inode.
#[derive(Default)]
pub(super) struct Subtree {
    pub(super) cgroups: Vec<CgroupId>,
    pub(super) networks: BTreeMap<u64, File>,
}

impl Subtree {
    /// Looks at a cgroup's folder. What goes away meanwhile is left out, and so is what lies at or below one of `others`
    /// within it.
    pub(super) fn of(folder: &Path, others: &BTreeSet<CgroupId>) -> io::Result<Self> {
        let mut subtree = Self::default();
        subtree.visit(folder, others)?;
        Ok(subtree)
    }

    fn visit(&mut self, folder: &Path, others: &BTreeSet<CgroupId>) -> io::Result<()> {
        let Some(metadata) = there(fs::metadata(folder))? else {
            return Ok(());
        };
        let cgroup = CgroupId(metadata.ino());
        if !self.cgroups.is_empty() && others.contains(&cgroup) {
            return Ok(());
        }
        self.cgroups.push(cgroup);
        for pid in there(fs::read_to_string(folder.join("cgroup.procs")))?
            .unwrap_or_default()
            .lines()
        {
            let Some(network) = there(File::open(format!("/proc/{pid}/ns/net")))? else {
                continue;
            };
            self.networks.entry(network.metadata()?.ino()).or_insert(network);
        }
        for entry in there(fs::read_dir(folder))?.into_iter().flatten() {
            let entry = entry?;
            if there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                self.visit(&entry.path(), others)?;
            }
        }
        Ok(())
    }
}

/// None for what has gone: a cgroup, or a process (ENODEV, ESRCH).
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::ENODEV | libc::ESRCH)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Runs `work` in a network namespace, in a thread that ends with it: a thread of a pool would stay there.
pub(super) fn within<T: Send>(network: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(network, CloneFlags::CLONE_NEWNET).context("entering a workload's network namespace")?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
