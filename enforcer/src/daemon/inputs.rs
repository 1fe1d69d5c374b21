//! What comes in, in the order in which it is served: control before changes, changes before events.
//!
//! ```text
//! questions, sockets that a sweep has found -> Control  (each waits for its answer, so that they are few)
//! files, objects, cgroups, names, resolvers -> Change   (taken in for a moment, then carried out together)
//! the programs' events                      -> Batch    (one has its turn after each plan)
//! ```

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use enforcer_core::registry::Update;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    control::Standing,
    datapath::Batch,
    proof,
    revoke::Report,
    sources::{
        cgroups::CgroupChange,
        files::FileChange,
        kube::{KubeChange, KubeStatus},
        pods::PodChange,
    },
};

pub(super) struct Inputs {
    /// Who waits for the enforcer's own pod to be let through.
    pub(super) admitted: Option<oneshot::Sender<()>>,
    pub(super) controls: Controls,
    pub(super) changes: Changes,
    pub(super) events: mpsc::Receiver<Batch>,
    /// What is known of each source of the API server; None if none is followed.
    pub(super) kube_status: Option<watch::Receiver<KubeStatus>>,
}

/// Who waits for an answer.
pub(super) struct Controls {
    pub(super) proof: mpsc::Receiver<proof::Question>,
    pub(super) standing: mpsc::Receiver<oneshot::Sender<Standing>>,
    /// None if no sweep is ever made.
    pub(super) live_sockets: Option<mpsc::Receiver<Report>>,
}

/// What is to be answered at once.
pub(super) enum Control {
    Proof(proof::Question),
    Standing(oneshot::Sender<Standing>),
    /// Sockets that a sweep has found, and what has become of sweeps and of sockets that were to end.
    Sockets(Report),
}

/// Where changes of what is to be enforced come from.
pub(super) struct Changes {
    pub(super) files: mpsc::Receiver<Vec<FileChange>>,
    /// None if no API server is followed.
    pub(super) kube: Option<mpsc::Receiver<Vec<KubeChange>>>,
    pub(super) cgroups: mpsc::Receiver<Vec<CgroupChange>>,
    /// None if pods are left alone.
    pub(super) pods: Option<mpsc::Receiver<Vec<PodChange>>>,
    pub(super) names: mpsc::Receiver<Update>,
    pub(super) resolvers: watch::Receiver<Vec<SocketAddr>>,
}

/// What changes what is to be enforced.
pub(super) enum Change {
    Files(Vec<FileChange>),
    Kube(Vec<KubeChange>),
    Cgroups(Vec<CgroupChange>),
    Pods(Vec<PodChange>),
    Name(Update),
    Resolvers(Vec<SocketAddr>),
}

impl Controls {
    /// The next one; nothing is lost where it is not waited for to the end.
    ///
    /// # Errors
    /// If one of those who ask has ended.
    pub(super) async fn next(&mut self) -> Result<Control> {
        Ok(tokio::select! {
            question = self.proof.recv() => Control::Proof(question.context("nobody proves any more")?),
            question = self.standing.recv() => {
                Control::Standing(question.context("nobody answers for the status any more")?)
            }
            report = next(&mut self.live_sockets) => Control::Sockets(report.context("no more sockets")?),
        })
    }
}

impl Changes {
    /// The next one, of any source that has one: none comes before the others. Nothing is lost where it is not waited
    /// for to the end.
    ///
    /// # Errors
    /// If a source has ended.
    pub(super) async fn next(&mut self) -> Result<Change> {
        Ok(tokio::select! {
            changes = self.files.recv() => Change::Files(changes.context("no more files")?),
            changes = next(&mut self.kube) => {
                Change::Kube(changes.context("no more of the API server's objects")?)
            }
            changes = self.cgroups.recv() => Change::Cgroups(changes.context("no more cgroups")?),
            changes = next(&mut self.pods) => Change::Pods(changes.context("no more cgroups of pods")?),
            update = self.names.recv() => Change::Name(update.context("no more names")?),
            changed = self.resolvers.changed() => {
                changed.context("no more resolvers")?;
                Change::Resolvers(self.resolvers.borrow_and_update().clone())
            }
        })
    }
}

/// The next message; never, if there is no channel.
async fn next<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}
