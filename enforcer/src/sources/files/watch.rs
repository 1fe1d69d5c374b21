//! Makes the kernel report changes in the folders.

use std::{
    collections::BTreeMap,
    fs, mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::warn;

use super::{
    hints::{Hints, State, Wake},
    walk::Interest,
};
use crate::stamp::Inode;

/// The folders that are watched.
pub(super) struct Watches {
    watcher: Option<RecommendedWatcher>,
    watched: Arc<BTreeMap<Inode, PathBuf>>,
    shared: Arc<Shared>,
    is_limited: bool,
}

/// What the watcher's thread needs.
#[derive(Default)]
struct Shared {
    wake: Arc<Wake>,
    state: Mutex<State>,
}

impl Watches {
    pub(super) fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let handler = shared.clone();
        let watcher = notify::recommended_watcher(move |event| handler.handle(event))
            .inspect_err(
                |error| warn!(%error, "inotify cannot watch files; scanning them twice a second instead"),
            )
            .ok();
        Self {
            is_limited: watcher.is_none(),
            watcher,
            watched: Arc::default(),
            shared,
        }
    }

    /// Notified when there is a reason to check.
    pub(super) fn wake(&self) -> Arc<Wake> {
        self.shared.wake.clone()
    }

    /// What was told since the last call.
    pub(super) fn take_hints(&self) -> Hints {
        self.shared.state().take(Arc::clone(&self.watched))
    }

    /// Whether everything is watched.
    pub(super) fn is_complete(&self) -> bool {
        !self.is_limited
    }

    /// Watches `places` and nothing else; true if one of them was not watched before, so that changes there since
    /// the walk may have been missed.
    pub(super) fn replace(&mut self, places: BTreeMap<PathBuf, Interest>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let mut wanted: BTreeMap<Inode, (PathBuf, Interest)> = BTreeMap::new();
        for (path, interest) in places {
            // A place that is not a folder (yet) is found by the watch of its parent folder.
            if let Some(metadata) = fs::metadata(&path).ok().filter(fs::Metadata::is_dir) {
                let entry = wanted.entry(Inode::of(&metadata));
                entry
                    .or_insert_with(|| (path, Interest::default()))
                    .1
                    .merge(interest);
            }
        }
        let stale = {
            let mut state = self.shared.state();
            state.interests = wanted.values().cloned().collect();
            mem::take(&mut state.stale)
        };
        let watched = Arc::make_mut(&mut self.watched);
        watched.retain(|inode, path| {
            let is_same =
                wanted.get(inode).is_some_and(|(wanted, _)| wanted == path) && !stale.contains(path);
            if !is_same {
                // The only error is that the watch is gone already, with its folder.
                drop(watcher.unwatch(path));
            }
            is_same
        });
        let mut has_new = false;
        let was_limited = mem::replace(&mut self.is_limited, false);
        for (inode, (path, _)) in wanted {
            if watched.contains_key(&inode) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(inode, path);
                    has_new = true;
                }
                Err(notify::Error {
                    kind: notify::ErrorKind::PathNotFound,
                    ..
                }) => {}
                Err(error) => {
                    if !self.is_limited && !was_limited {
                        let path = path.display();
                        warn!(%path, %error, "inotify cannot watch a folder; scanning it twice a second instead");
                    }
                    self.is_limited = true;
                }
            }
        }
        has_new
    }
}

impl Shared {
    fn handle(&self, event: notify::Result<Event>) {
        match event {
            Ok(event) => self.state().note(&event, &self.wake),
            Err(error) => {
                warn!(%error, "watching files");
                self.state().lose(&self.wake);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
