//! Follows the registry's objects in the API server of a cluster: the only home of the kube client.
//!
//! ```text
//! watch (a task for each source: list, then watch) -> Report -> hub -> [KubeChange] -> owner
//!   `-> Store: what was said of each object                      |-> KubeStatus
//! events (Kubernetes Events) <- Notice <- hub, owner
//! ```
//!
//! The loop of listing and watching is our own, on kube's client: its runtime's watcher shows neither bookmarks, from
//! which the age of what is known is told, nor the answers by which a kind that is absent is told from a server that
//! is only starting, and fails a whole page for one item that cannot be decoded.
//!
//! **Architecture Invariant:** nothing is taken away because of an error. Only a complete list or an event says that
//! an object is gone, and that a kind is not served is believed only of a server that says that it is ready.

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
mod versions;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use enforcer_core::registry::Update;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio_util::sync::CancellationToken;

pub use self::status::{KubeStatus, SourceState, SourceStatus};
use self::{access::Access, hub::Hub};
use crate::{config::Kubernetes, report::notice::Notice};

/// What is followed, and how patiently.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Kubernetes,
    /// The revision whose mesh configuration is followed beside `istio`.
    pub revision: Option<String>,
    /// Objects in a page of a list.
    pub page: u32,
    /// How long one request may go unanswered.
    pub patience: Duration,
    /// How long a watch may say nothing. The API server sends a bookmark about every minute.
    pub silence: Duration,
    /// The longest pause between two attempts.
    pub pause: Duration,
    /// The file in which it is kept how far the server was followed, for the next start; None: in none.
    pub versions: Option<PathBuf>,
}

impl Settings {
    /// With the times that suit a cluster.
    pub fn new(access: Kubernetes, revision: Option<String>) -> Self {
        Self {
            access,
            revision,
            page: 500,
            patience: Duration::from_secs(60),
            silence: Duration::from_secs(150),
            pause: Duration::from_secs(30),
            versions: None,
        }
    }
}

/// One thing that the API server has brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KubeChange {
    /// An object that is there, changed or gone; never one that is invalid.
    Update(Update),
    /// Said once: every kind that is served has been listed, and all that was there was sent.
    Listed,
}

/// What connects the task with the others.
pub struct Ports {
    /// Takes what changes. While nobody takes it, changes wait and only the last one of each object is kept.
    pub changes: mpsc::Sender<Vec<KubeChange>>,
    /// Takes what is known of each source.
    pub status: watch_channel::Sender<KubeStatus>,
    /// What is to become a Kubernetes Event: the way in, and the way out.
    pub notices: (mpsc::Sender<Notice>, mpsc::Receiver<Notice>),
}

/// Follows until `cancel`.
///
/// # Errors
/// If it is not known how to reach an API server, or nobody receives any more. Nothing that a server does is an
/// error.
pub async fn follow(settings: Settings, ports: Ports, cancel: CancellationToken) -> Result<()> {
    let access = Access::open(&settings.access)
        .await
        .context("registry.kubernetes")?;
    let hub = Hub::new(settings, Arc::new(access));
    cancel.run_until_cancelled(hub.run(ports)).await.unwrap_or(Ok(()))
}
