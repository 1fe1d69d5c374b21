//! Which of the configured cgroups are there.
//!
//! A folder of cgroups tells of its children by inotify. What a lost or late notice would hide, a scan every few
//! seconds finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::Result;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Sink, look::next_look, notices::Notices};
use crate::datapath::{Cgroup, CgroupMount};

/// A cgroup has come or gone. One that was removed and made again has gone and come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChange {
    /// It is there.
    Appeared(Cgroup),
    /// It is not there any more.
    Gone(Cgroup),
}

/// Follows the cgroups at `paths`. The first batch is sent in any case and holds what is there.
///
/// # Errors
/// None: what cannot be watched is looked at.
pub async fn follow(
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    sink: Sink<Vec<CgroupChange>>,
    cancel: CancellationToken,
) -> Result<()> {
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let mut scan = Scan {
        mount,
        paths,
        known: BTreeMap::new(),
        notices: Notices::new(wake),
    };
    let mut is_first = true;
    loop {
        let start = Instant::now();
        let changes = scan.changes();
        sink.beat();
        if (is_first || !changes.is_empty()) && !sink.send(changes).await {
            return Ok(());
        }
        is_first = false;
        tokio::select! {
            () = next_look(&mut woken, start, scan.notices.rescan()) => {}
            () = cancel.cancelled() => return Ok(()),
        }
    }
}

struct Scan {
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    known: BTreeMap<PathBuf, Cgroup>,
    notices: Notices,
}

impl Scan {
    /// What has changed since the last call. The folders are watched before they are looked at, so that nothing
    /// falls in between.
    fn changes(&mut self) -> Vec<CgroupChange> {
        self.watch();
        let mut changes = Vec::new();
        for path in &self.paths {
            let now = match self.mount.cgroup(path) {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(
                        "whether the cgroup {} is there is not known ({error}): what is enforced stays so, and it is \
                         looked at again",
                        path.display()
                    );
                    continue;
                }
            };
            let before = self.known.get(path);
            if before == now.as_ref() {
                continue;
            }
            if let Some(before) = self.known.remove(path) {
                changes.push(CgroupChange::Gone(before));
            }
            if let Some(now) = now {
                self.known.insert(path.clone(), now.clone());
                changes.push(CgroupChange::Appeared(now));
            }
        }
        changes
    }

    /// Watches every folder above a configured cgroup that is there.
    fn watch(&mut self) {
        let folders: BTreeSet<PathBuf> = self
            .paths
            .iter()
            .flat_map(|path| path.ancestors().skip(1))
            .map(|path| self.mount.folder(path))
            .filter(|folder| folder.is_dir())
            .collect();
        for folder in folders {
            // Made anew each time: a folder that was removed and made again is another one.
            self.notices.watch(&folder);
        }
    }
}
