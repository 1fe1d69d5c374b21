//! Which of the configured cgroups are there.
//!
//! A folder of cgroups tells of its children by inotify. What a lost or late notice would hide, a scan every few
//! seconds finds.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Sink, look::next_look};
use crate::datapath::{Cgroup, CgroupMount};

/// A cgroup has come or gone. One that was removed and made again has gone and come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupChange {
    /// It is there.
    Appeared(Cgroup),
    /// It is not there any more.
    Gone(Cgroup),
}

/// How often the cgroups are looked at without a notice.
const RESCAN: Duration = Duration::from_secs(2);

/// Follows the cgroups at `paths`. The first batch is sent in any case and holds what is there.
///
/// # Errors
/// If the kernel gives no inotify instance.
pub async fn follow(
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    sink: Sink<Vec<CgroupChange>>,
    cancel: CancellationToken,
) -> Result<()> {
    // One waiting notice is enough: it makes all be looked at.
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let watcher = notify::recommended_watcher(move |notice: notify::Result<notify::Event>| {
        if notice.is_ok_and(|event| !comes_or_goes(event.kind)) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Closed(())) = wake.try_send(()) {
            tracing::trace!("a notice of cgroups came after their end");
        }
    })
    .context("watching the cgroups")?;
    let mut scan = Scan {
        mount,
        paths,
        known: BTreeMap::new(),
        watcher,
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
            () = next_look(&mut woken, start, RESCAN) => {}
            () = cancel.cancelled() => return Ok(()),
        }
    }
}

struct Scan {
    mount: CgroupMount,
    paths: BTreeSet<PathBuf>,
    known: BTreeMap<PathBuf, Cgroup>,
    watcher: RecommendedWatcher,
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
                    tracing::warn!("the cgroup {} cannot be looked at: {error}", path.display());
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
            // Made anew each time: a folder that was removed and made again is another one for inotify, and the
            // same one keeps its watch.
            if let Err(error) = self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::debug!("{} is not watched: {error}", folder.display());
            }
        }
    }
}

/// Whether a notice is of a folder that is made, removed or renamed. Others are frequent and say nothing here.
fn comes_or_goes(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}
