//! Which of the configured cgroups exist.
//!
//! inotify reports the children of a folder of cgroups. A scan every few seconds finds what a lost or late notice
//! would miss.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Sink, look, notices::Notices};
use crate::datapath::{Cgroup, CgroupMount};

/// A cgroup has appeared or gone. One that was removed and created again has gone and appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChange {
    /// It exists.
    Appeared(Cgroup),
    /// It no longer exists.
    Gone(Cgroup),
}

/// Follows the cgroups at `paths`. The first batch is always sent and contains those that exist.
///
/// # Errors
/// If the check panics.
pub async fn follow(
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    sink: Sink<Vec<CgroupChange>>,
    cancel: CancellationToken,
) -> Result<()> {
    let (wake, woken) = mpsc::channel(1);
    let scan = Scan {
        mount,
        paths,
        known: BTreeMap::new(),
        notices: Notices::new(wake),
    };
    look::follow(scan, woken, sink, cancel).await
}

struct Scan {
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    known: BTreeMap<PathBuf, Cgroup>,
    notices: Notices,
}

impl look::Scan for Scan {
    type Change = CgroupChange;

    /// What has changed since the last call. The folders are watched before they are read, so that no change in
    /// between is missed.
    fn changes(&mut self) -> Vec<CgroupChange> {
        for path in &self.paths {
            self.notices.watch_above(&self.mount, path);
        }
        let mut changes = Vec::new();
        for path in &self.paths {
            let now = match self.mount.cgroup(path) {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(
                        "cannot check whether the cgroup {} exists ({error}): enforcement stays as it was, and it is \
                         checked again",
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

    fn rescan(&self) -> Duration {
        self.notices.rescan()
    }
}
