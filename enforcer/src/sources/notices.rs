//! Notices of cgroups that appear and disappear.
//!
//! The kernel limits the inotify instances of each user, and every container that runs as root without a user
//! namespace uses root's. So there may be none left: then the cgroups are checked more often.

use std::{path::Path, time::Duration};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _, event::ModifyKind};
use tokio::sync::mpsc;

use crate::datapath::CgroupMount;

/// The interval of checks without a notice.
const RESCAN: Duration = Duration::from_secs(2);
/// The same if there are no notices.
const RESCAN_UNWATCHED: Duration = Duration::from_millis(250);

/// Watches folders of cgroups, as far as the kernel allows it.
pub(super) struct Notices {
    watcher: Option<RecommendedWatcher>,
    /// Whether a folder is not watched.
    is_limited: bool,
}

impl Notices {
    /// Notifies `wake` when a cgroup appears or disappears. One waiting notice is enough, because it causes a check
    /// of everything.
    pub(super) fn new(wake: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |notice: notify::Result<notify::Event>| {
            if notice.is_ok_and(|event| !comes_or_goes(event.kind)) {
                return;
            }
            if let Err(mpsc::error::TrySendError::Closed(())) = wake.try_send(()) {
                tracing::trace!("a notice of cgroups came after their end");
            }
        });
        let watcher = watcher.inspect_err(|error| {
            tracing::warn!(
                "inotify cannot watch cgroups ({error}): scanning them every {RESCAN_UNWATCHED:?} instead; \
                 fs.inotify.max_user_instances may be too small"
            );
        });
        Self {
            is_limited: watcher.is_err(),
            watcher: watcher.ok(),
        }
    }

    /// Watches the folders above a cgroup, where the next part of its path may appear. Called again each time: for
    /// inotify, a folder that was removed and created again is another one, and an unchanged folder keeps its watch.
    pub(super) fn watch_above(&mut self, mount: &CgroupMount, path: &Path) {
        let folders = path.ancestors().skip(1).map(|path| mount.folder(path));
        for folder in folders.filter(|folder| folder.is_dir()) {
            self.watch(&folder);
        }
    }

    /// Watches a folder. One that is watched already keeps its watch; one that was removed and created again is
    /// another one for inotify. Returns whether it is watched.
    pub(super) fn watch(&mut self, folder: &Path) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => true,
            Err(error) => {
                if matches!(error.kind, notify::ErrorKind::MaxFilesWatch) && !self.is_limited {
                    tracing::warn!(
                        "inotify cannot watch {} ({error}): scanning cgroups every {RESCAN_UNWATCHED:?} instead; \
                         fs.inotify.max_user_watches may be too small",
                        folder.display()
                    );
                    self.is_limited = true;
                } else {
                    tracing::debug!("{} is not watched: {error}", folder.display());
                }
                false
            }
        }
    }

    /// When to check again without a notice.
    pub(super) fn rescan(&self) -> Duration {
        if self.is_limited { RESCAN_UNWATCHED } else { RESCAN }
    }
}

/// Whether a notice is about a folder that is created, removed or renamed. Others are frequent and irrelevant here.
fn comes_or_goes(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}
