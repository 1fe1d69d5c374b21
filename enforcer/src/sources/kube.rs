//! Follows the registry's objects in the API server of a cluster: the only module that uses the kube client.
//!
//! ```text
//! watch (a task for each source: list, then watch) -> Report -> hub -> [KubeChange] -> owner
//!   `-> Store: what was said of each object                      |-> KubeStatus
//! events (Kubernetes Events) <- Notice <- hub, owner
//! ```
//!
//! The loop of listing and watching is our own, on kube's client. The watcher of kube's runtime hides bookmarks,
//! which show how old the known state is. It also hides the answers that distinguish a kind that is absent from a
//! server that is only starting, and it fails a whole page for one item that cannot be decoded.
//!
//! **Architecture Invariant:** nothing is removed because of an error. Only a complete list or an event shows that
//! an object is gone, and only a server that reports that it is ready is trusted when it answers that a kind is not
//! served.

mod access;
mod backoff;
mod denial_guard;
mod document;
mod events;
mod failure;
mod hub;
mod list;
mod prune;
mod request;
mod source;
mod status;
mod store;
mod taint;
mod versions;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use enforcer_core::{
    istio::{Kind, ObjectId},
    registry::Update,
};
use tokio::sync::{mpsc, watch as watch_channel};
use tokio_util::sync::CancellationToken;

pub use self::status::{KubeStatus, SourceState, SourceStatus};
pub(crate) use self::taint::{KEY as TAINT, remove as remove_taint};
use self::{access::Access, hub::Hub};
use crate::{config::Kubernetes, kept::Kept, report::notice::Notice};

/// What is followed, and the timeouts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Kubernetes,
    /// The revision whose mesh configuration is followed beside `istio`.
    pub revision: Option<String>,
    /// The number of objects in a page of a list.
    pub page: u32,
    /// The timeout of one request.
    pub patience: Duration,
    /// The longest silence of a watch. The API server sends a bookmark about every minute.
    pub silence: Duration,
    /// The longest pause between two attempts.
    pub pause: Duration,
    /// The file for the versions up to which the server was followed, for the next start; None for no file.
    pub versions: Option<PathBuf>,
    /// Where objects are kept for the next boot.
    pub kept: Option<Arc<Kept>>,
}

impl Settings {
    /// With times that suit a cluster.
    pub fn new(access: Kubernetes, revision: Option<String>) -> Self {
        Self {
            access,
            revision,
            page: 500,
            patience: Duration::from_secs(60),
            silence: Duration::from_secs(150),
            pause: Duration::from_secs(30),
            versions: None,
            kept: None,
        }
    }
}

/// Where objects of a kind are served in the namespace of this one, in the order in which versions are preferred; None if
/// nobody asks for that kind.
pub(crate) fn collection(id: &ObjectId) -> Option<Vec<String>> {
    let source = source::Source::one(id)?;
    Some(
        (0..source.versions())
            .map(|version| source.path(version))
            .collect(),
    )
}

/// The same of what a registry is made of, in all namespaces.
pub(crate) fn collections() -> Vec<Vec<String>> {
    let sources = source::Source::of_registry().into_iter();
    let paths = sources.map(|source| {
        (0..source.versions())
            .map(|version| source.path(version))
            .collect()
    });
    paths.collect()
}

/// One update from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeChange {
    /// An object that exists, has changed or is gone; never an invalid one.
    Update(Update),
    /// Why the newest version of an object is rejected; None: it no longer is.
    Rejected(ObjectId, Option<String>),
    /// Everything that objects of a kind were up to this version was sent, as an update or a rejection.
    Followed(Kind, u64),
    /// Sent once: every kind that is served has been listed, and everything that exists was sent.
    Listed,
}

/// The channels to the other tasks.
pub struct Ports {
    /// Receives changes. While it is full, changes wait and only the last one of each object is kept.
    pub changes: mpsc::Sender<Vec<KubeChange>>,
    /// Receives the status of each source.
    pub status: watch_channel::Sender<KubeStatus>,
    /// Notices for Kubernetes Events: the sending and the receiving end.
    pub notices: (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
}

/// Waits until an API server answers, or `is_over` says that nobody waits for it any more.
///
/// # Errors
/// If it is unknown how to reach one.
pub(crate) async fn answers(access: &Kubernetes, is_over: impl Fn() -> bool) -> Result<()> {
    let access = Access::open(access).await.context("registry.kubernetes")?;
    while !is_over() {
        let client = access.client();
        match tokio::time::timeout(GLANCE, client.apiserver_version()).await {
            Ok(Ok(_)) => return Ok(()),
            // One that keeps its version to itself has answered.
            Ok(Err(kube::Error::Api(status))) if [401, 403].contains(&status.code) => return Ok(()),
            Ok(Err(error)) => tracing::debug!("the API server does not answer yet: {error}"),
            Err(_) => continue,
        }
        tokio::time::sleep(BREATH).await;
    }
    Ok(())
}

/// How long one attempt to reach the API server may take, and the pause after one that has failed.
const GLANCE: Duration = Duration::from_secs(5);
const BREATH: Duration = Duration::from_millis(250);

/// Follows until `cancel`.
///
/// # Errors
/// If it is unknown how to reach an API server, or a receiver is closed. Nothing that a server does is an error.
pub async fn follow(settings: Settings, ports: Ports, cancel: CancellationToken) -> Result<()> {
    let access = Access::open(&settings.access)
        .await
        .context("registry.kubernetes")?;
    let hub = Hub::new(settings, Arc::new(access));
    cancel.run_until_cancelled(hub.run(ports)).await.unwrap_or(Ok(()))
}
