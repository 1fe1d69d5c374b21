//! A workload's cgroups and their threads, found in small portions.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Instant,
};

use enforcer_common::CgroupId;

/// Cgroups below one workload that are looked into.
pub(super) const CGROUPS: usize = 65_536;

/// A cgroup with those below it, and all their threads.
#[derive(Default)]
pub(super) struct Subtree {
    pub(super) cgroups: BTreeSet<CgroupId>,
    /// By thread, since each may have a network namespace and a table of files of its own; `cgroup.procs` names
    /// processes alone, and none in a threaded cgroup.
    pub(super) threads: BTreeSet<u32>,
    /// Why one of the cgroups could not be read. The others have been.
    pub(super) failed: Option<io::Error>,
    /// Whether there are more than [`CGROUPS`].
    pub(super) is_cut: bool,
    /// Folders that are still to be read.
    ahead: Vec<PathBuf>,
}

impl Subtree {
    /// Starts at a cgroup's folder.
    pub(super) fn at(folder: &Path) -> Self {
        Self {
            ahead: vec![folder.to_owned()],
            ..Self::default()
        }
    }

    /// Looks on until a time, at one cgroup at least. What goes away meanwhile is left out, and so is what lies at or
    /// below one of `others` within it. True once all was looked at.
    pub(super) fn advance(&mut self, others: &BTreeSet<CgroupId>, until: Instant) -> bool {
        while let Some(folder) = self.ahead.pop() {
            if self.cgroups.len() == CGROUPS {
                self.is_cut = true;
                return true;
            }
            if let Err(error) = self.visit(&folder, others) {
                self.failed.get_or_insert(error);
            }
            if Instant::now() >= until {
                break;
            }
        }
        self.ahead.is_empty()
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
        // 0 stands for a thread that is not in this process's PID namespace.
        let threads = threads.lines().filter_map(|thread| thread.parse::<u32>().ok());
        self.threads.extend(threads.filter(|thread| *thread != 0));
        for entry in there(fs::read_dir(folder))?.into_iter().flatten() {
            let entry = entry?;
            if there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                self.ahead.push(entry.path());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_stops_when_its_time_is_over_and_comes_to_the_same_end() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..20 {
            fs::create_dir_all(root.path().join(format!("{number}/below/deeper"))).unwrap();
        }
        fs::write(root.path().join("7/cgroup.threads"), "12\n0\n13\n").unwrap();
        let left_out = fs::metadata(root.path().join("3/below")).unwrap().ino();
        let others = BTreeSet::from([CgroupId(left_out)]);
        let mut subtree = Subtree::at(root.path());
        let (mut steps, over) = (1, Instant::now());
        while !subtree.advance(&others, over) {
            steps += 1;
        }
        assert!(steps > 50, "one folder a step: {steps}");
        assert_eq!(subtree.cgroups.len(), 1 + 3 * 20 - 2);
        assert_eq!(subtree.threads, [12, 13].into());
        assert!(!subtree.is_cut && subtree.failed.is_none());
    }
}
