//! What is known, in a folder that outlives a boot, so that `enforcer boot` can enforce before anybody can be asked.
//!
//! ```text
//! API server's objects, kubelet's cgroups, resolvers -> Kept -> known.json, enforcer.yaml, environment, names.json
//! known.json -> Known -> sources::boot
//! ```
//!
//! Beside it, in a file of its own, what workloads were seen to reach.
//!
//! **Architecture Invariant:** nothing is written before every source has listed what there is, so that half of it never
//! takes the place of all of it. Of a pod nothing is kept but what its policy depends on: its environment may hold
//! secrets.

mod file;
mod observations;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub(crate) use file::{CONFIG, Known, NAMES, replace};
pub(crate) use observations::{
    Keeping, Snapshot, read as read_observations, run as write_observations, unwritable,
};

/// How often what has changed is written, at most: with more objects less often, so that a cluster that changes all the
/// time does not keep the node's disk busy.
const PAUSE: Duration = Duration::from_secs(2);
const BYTES_A_SECOND: u64 = 1 << 20;

/// What an object is kept under: its source, its namespace and its name.
type Key = (Box<str>, Box<str>, Box<str>);

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The folder, for root alone.
    pub(crate) folder: PathBuf,
    /// The configuration's text.
    pub(crate) config: String,
    /// The name of this node.
    pub(crate) node: String,
    /// The enforcer's own namespace.
    pub(crate) namespace: Option<String>,
    /// The file of what is known of names.
    pub(crate) names: PathBuf,
}

/// What is known now, for the files.
#[derive(Debug)]
pub struct Kept {
    place: Place,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    /// As JSON.
    objects: BTreeMap<Key, Box<str>>,
    roots: BTreeSet<PathBuf>,
    servers: Vec<SocketAddr>,
    is_complete: bool,
    has_changed: bool,
}

impl Kept {
    pub(crate) fn new(place: Place) -> Arc<Self> {
        let now = Mutex::new(Now::default());
        Arc::new(Self { place, now })
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().expect("nothing panics while it holds this lock")
    }

    /// A source has an object, or another version of it.
    pub(crate) fn set(&self, (source, namespace, name): (&str, &str, &str), object: &Value) {
        let text = file::essence(object, &self.place.node).to_string();
        let mut now = self.now();
        let key = (source.into(), namespace.into(), name.into());
        let before = now.objects.insert(key, text.as_str().into());
        now.has_changed |= before.as_deref() != Some(&*text);
    }

    /// A source no longer has an object.
    pub(crate) fn remove(&self, (source, namespace, name): (&str, &str, &str)) {
        let mut now = self.now();
        let key = (source.into(), namespace.into(), name.into());
        now.has_changed |= now.objects.remove(&key).is_some();
    }

    /// A source is no longer followed.
    pub(crate) fn forget(&self, source: &str) {
        let mut now = self.now();
        now.objects.retain(|(of, _, _), _| **of != *source);
        now.has_changed = true;
    }

    /// Every source has listed what there is.
    pub(crate) fn complete(&self) {
        let mut now = self.now();
        (now.is_complete, now.has_changed) = (true, true);
    }

    /// A kubelet's cgroup of all pods is there.
    pub(crate) fn note_root(&self, path: PathBuf) {
        let mut now = self.now();
        now.has_changed |= now.roots.insert(path);
    }

    /// These resolvers are asked.
    pub(crate) fn note_servers(&self, servers: Vec<SocketAddr>) {
        let mut now = self.now();
        (now.servers, now.has_changed) = (servers, true);
    }

    /// Writes what has changed, until `cancel`. What cannot be written is tried again.
    ///
    /// # Errors
    /// If writing panics.
    pub(crate) async fn run(self: Arc<Self>, cancel: CancellationToken) -> Result<()> {
        let mut tick = tokio::time::interval(PAUSE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = None;
        let mut due = Instant::now();
        loop {
            let is_over = tokio::select! {
                _ = tick.tick(), if !cancel.is_cancelled() => false,
                () = cancel.cancelled() => true,
            };
            if !is_over && Instant::now() < due {
                continue;
            }
            let kept = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || kept.write()).await;
            let failed = match written.context("writing what is known")? {
                Ok(bytes) => {
                    due = Instant::now() + Duration::from_secs(bytes / BYTES_A_SECOND);
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(error) = failed.as_ref().filter(|_| failed != said) {
                tracing::error!(
                    "what is known cannot be kept for the next boot, which enforces by what was kept last; it is tried \
                     every {PAUSE:?}: {error}"
                );
            }
            said = failed;
            if is_over {
                return Ok(());
            }
        }
    }

    /// Writes what has changed, and says how much of it are objects.
    fn write(&self) -> Result<u64> {
        let text = {
            let mut now = self.now();
            if !now.is_complete {
                return Ok(0);
            }
            std::mem::take(&mut now.has_changed).then(|| {
                let objects: Vec<_> = now.objects.values().map(AsRef::as_ref).collect();
                file::known(&now.roots, &now.servers, &objects)
            })
        };
        let written = file::write(&self.place, text.as_deref());
        if written.is_err() {
            self.now().has_changed |= text.is_some();
        }
        written.map(|()| text.map_or(0, |text| text.len() as u64))
    }
}
