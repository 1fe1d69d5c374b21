//! Which of the configured cgroups exist. Absent ones are made, so that what comes is enforced from its first
//! instruction.
//!
//! inotify reports the children of a folder of cgroups. A scan every few seconds finds what a lost or late notice
//! would miss.

mod units;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Sink, look, notices::Notices};
use crate::{
    config::ServiceName,
    datapath::{Cgroup, CgroupMount},
};

use units::Units;
pub use units::{Misplaced, Unused};

/// A cgroup has appeared or gone. One that was removed and created again has gone and appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChange {
    /// It exists.
    Appeared(Cgroup),
    /// It no longer exists.
    Gone(Cgroup),
    /// All units that run outside their slices now.
    Misplaced(BTreeSet<Misplaced>),
    /// All cgroups in which nothing has been, and those that may be meant.
    Unused(BTreeSet<Unused>),
}

/// When a cgroup that does not exist is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// At the start. Later, its owner may remove it and make it again.
    Once,
    /// Always: it is a slice, which systemd takes as it finds it.
    Always,
}

/// What is followed.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The cgroups.
    pub cgroups: BTreeMap<PathBuf, Making>,
    /// Units, and the cgroups that they should be in.
    pub units: BTreeMap<PathBuf, ServiceName>,
}

/// Follows the cgroups that are wanted. The first batch is always sent and contains those that exist.
///
/// # Errors
/// If the check panics.
pub async fn follow(
    mount: CgroupMount,
    wanted: Wanted,
    sink: Sink<Vec<CgroupChange>>,
    cancel: CancellationToken,
) -> Result<()> {
    let (wake, woken) = mpsc::channel(1);
    let scan = Scan {
        units: Units::new(wanted.units, mount.path()),
        mount,
        cgroups: wanted.cgroups,
        is_first: true,
        refused: BTreeSet::new(),
        known: BTreeMap::new(),
        notices: Notices::new(wake),
    };
    look::follow(scan, woken, sink, cancel).await
}

struct Scan {
    mount: CgroupMount,
    cgroups: BTreeMap<PathBuf, Making>,
    units: Units,
    is_first: bool,
    /// Those that could not be made, which was said.
    refused: BTreeSet<PathBuf>,
    known: BTreeMap<PathBuf, Cgroup>,
    notices: Notices,
}

impl Scan {
    /// The cgroup at a path, made if it has to be.
    fn cgroup(&mut self, path: &Path, making: Making) -> io::Result<Option<Cgroup>> {
        let found = self.mount.cgroup(path)?;
        if found.is_some() || !(self.is_first || making == Making::Always) {
            return Ok(found);
        }
        if let Err(error) = self.mount.make(path) {
            if self.refused.insert(path.to_owned()) {
                tracing::warn!(
                    "the cgroup {} does not exist and cannot be made ({error}): what begins in it is enforced only \
                     shortly after",
                    path.display()
                );
            }
            return Ok(None);
        }
        self.mount.cgroup(path)
    }
}

impl look::Scan for Scan {
    type Change = CgroupChange;

    /// What has changed since the last call. The folders are watched before they are read, so that no change in
    /// between is missed.
    fn changes(&mut self) -> Vec<CgroupChange> {
        let cgroups = self.cgroups.clone();
        for path in cgroups.keys() {
            self.notices.watch_above(&self.mount, path);
        }
        let mut changes = Vec::new();
        for (path, making) in &cgroups {
            let now = match self.cgroup(path, *making) {
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
        self.is_first = false;
        changes.extend(self.units.look(cgroups.keys()));
        changes
    }

    fn rescan(&self) -> Duration {
        self.notices.rescan()
    }
}
