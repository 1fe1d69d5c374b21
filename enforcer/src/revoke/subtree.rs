//! A workload's cgroups and their threads.

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use enforcer_common::CgroupId;

/// A cgroup with those below it, and all their threads.
#[derive(Default)]
pub(super) struct Subtree {
    pub(super) cgroups: BTreeSet<CgroupId>,
    /// By thread, since each may have a network namespace and a table of files of its own; `cgroup.procs` names
    /// processes alone, and none in a threaded cgroup.
    pub(super) threads: BTreeSet<u32>,
    /// Why one of the cgroups could not be read. The others have been.
    pub(super) failed: Option<io::Error>,
}

impl Subtree {
    /// Looks at a cgroup's folder. What goes away meanwhile is left out, and so is what lies at or below one of `others`
    /// within it.
    pub(super) fn of(folder: &Path, others: &BTreeSet<CgroupId>) -> Self {
        let mut subtree = Self::default();
        subtree.note(folder, others);
        subtree
    }

    fn note(&mut self, folder: &Path, others: &BTreeSet<CgroupId>) {
        if let Err(error) = self.visit(folder, others) {
            self.failed.get_or_insert(error);
        }
    }

    fn visit(&mut self, folder: &Path, others: &BTreeSet<CgroupId>) -> io::Result<()> {
        let Some(metadata) = there(fs::metadata(folder))? else {
            return Ok(());
        };
        let cgroup = CgroupId(metadata.ino());
        if !self.cgroups.is_empty() && others.contains(&cgroup) {
            return Ok(());
        }
        self.cgroups.insert(cgroup);
        let threads = there(fs::read_to_string(folder.join("cgroup.threads")))?.unwrap_or_default();
        // 0 stands for one that this process cannot name, being in a PID namespace that does not have it.
        let threads = threads.lines().filter_map(|thread| thread.parse::<u32>().ok());
        self.threads.extend(threads.filter(|thread| *thread != 0));
        for entry in there(fs::read_dir(folder))?.into_iter().flatten() {
            let entry = entry?;
            if there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                self.note(&entry.path(), others);
            }
        }
        Ok(())
    }
}

/// None for what has gone: a cgroup, or a process (ENODEV, ESRCH).
pub(super) fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
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
