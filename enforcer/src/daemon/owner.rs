//! The one task that owns the registry and the datapath.
//!
//! Whatever comes in changes the registry; then the plan from what the kernel holds to what it should hold is
//! carried out. A plan that fails half-way is taken up from what the maps really hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Counter, Event};
use enforcer_core::{
    documents::Documents,
    model::Host,
    plan::Applied,
    registry::{Registry, Update},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    answers::Outcome, flows::Flows, places::Places, pods::NodePods, precedence::Precedence,
    revocation::Revocation, room::Room,
};
use crate::{
    control::Standing,
    datapath::{Cgroup, Datapath},
    proof::{self, Canaries},
    report::{log::LogFormat, once::Once},
    revoke::Report,
    sources::{
        cgroups::CgroupChange,
        files::FileChange,
        kube::{KubeChange, KubeStatus},
        pods::PodChange,
    },
};

/// How often what has failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How often the programs' counters are looked at.
const COUNT: Duration = Duration::from_secs(5);

pub(super) struct Owner {
    pub(super) registry: Registry,
    pub(super) documents: Documents,
    pub(super) datapath: Datapath,
    pub(super) applied: Applied,
    pub(super) places: Places,
    /// None if pods are left alone.
    pub(super) pods: Option<NodePods>,
    /// The configured cgroups, and those of pods, that are there.
    pub(super) cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Roots that are there and at which the programs do not run yet.
    pub(super) unattached: BTreeMap<CgroupId, Cgroup>,
    pub(super) hosts: watch::Sender<BTreeSet<Host>>,
    pub(super) flows: Flows,
    pub(super) format: LogFormat,
    /// Whether every workload may ask the resolvers.
    pub(super) allow_resolvers: bool,
    /// Events that were lost, as last said; pinned counters go on counting between starts.
    pub(super) lost: u64,
    /// None if sockets that are open stay open.
    pub(super) revocation: Option<Revocation>,
    /// Whether the kernel holds what the first lists said.
    pub(super) is_started: bool,
    pub(super) canaries: Canaries,
    /// How the last plan ended.
    pub(super) outcome: Outcome,
    /// What the kernel's maps have room for.
    pub(super) room: Room,
    /// What was said of the files, of the registry as a whole, and of what the kernel refused.
    pub(super) problems: Once,
    pub(super) warnings: Once,
    pub(super) failures: Once,
    pub(super) refusals: Once,
    /// Who is believed where both files and the API server have an object.
    pub(super) precedence: Precedence,
}

pub(super) struct Inputs {
    /// Who waits for the enforcer's own pod to be let through.
    pub(super) admitted: Option<oneshot::Sender<()>>,
    pub(super) file_changes: mpsc::Receiver<Vec<FileChange>>,
    /// None if no API server is followed.
    pub(super) kube_changes: Option<mpsc::Receiver<Vec<KubeChange>>>,
    /// What is known of each source of the API server.
    pub(super) kube_status: Option<watch::Receiver<KubeStatus>>,
    pub(super) cgroup_changes: mpsc::Receiver<Vec<CgroupChange>>,
    /// None if pods are left alone.
    pub(super) pod_changes: Option<mpsc::Receiver<Vec<PodChange>>>,
    pub(super) name_updates: mpsc::Receiver<Update>,
    pub(super) flow_events: mpsc::Receiver<Event>,
    pub(super) resolvers: watch::Receiver<Vec<SocketAddr>>,
    pub(super) proof_questions: mpsc::Receiver<proof::Question>,
    pub(super) standing_questions: mpsc::Receiver<oneshot::Sender<Standing>>,
    /// What sweeps have found, and what was ended; None if none is ever made.
    pub(super) live_sockets: Option<mpsc::Receiver<Report>>,
}

impl Owner {
    /// Takes in whatever comes until `cancel`.
    ///
    /// # Errors
    /// If a source has ended.
    pub(super) async fn follow(&mut self, inputs: &mut Inputs, cancel: &CancellationToken) -> Result<()> {
        let mut retry = false;
        let mut count = tokio::time::interval(COUNT);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                changes = inputs.file_changes.recv() => self.take_files(changes.context("no more files")?),
                changes = next(&mut inputs.kube_changes) => {
                    self.take_kube(changes.context("no more of the API server's objects")?);
                }
                changes = inputs.cgroup_changes.recv() => self.take_cgroups(changes.context("no more cgroups")?),
                changes = next(&mut inputs.pod_changes) => self.take_pods(changes.context("no more cgroups of pods")?),
                update = inputs.name_updates.recv() => self.apply(update.context("no more names")?),
                changed = inputs.resolvers.changed() => {
                    changed.context("no more resolvers")?;
                    let servers = inputs.resolvers.borrow_and_update().clone();
                    self.take_resolvers(&servers);
                }
                event = inputs.flow_events.recv() => {
                    let event = event.context("no more events")?;
                    if !self.canaries.has(event.cgroup) {
                        self.flows.write(&event, &mut self.registry, &self.room);
                    }
                    continue;
                }
                report = next(&mut inputs.live_sockets) => {
                    if let Some(revocation) = &mut self.revocation {
                        revocation.take(report.context("no more sockets")?, &mut self.registry).await?;
                    }
                    continue;
                }
                question = inputs.proof_questions.recv() => {
                    self.answer_proof(question.context("nobody proves any more")?);
                    continue;
                }
                question = inputs.standing_questions.recv() => {
                    self.answer_standing(question.context("nobody answers for the status any more")?);
                    continue;
                }
                _ = count.tick() => {
                    self.report_lost();
                    if let Some(revocation) = &mut self.revocation {
                        revocation.write();
                    }
                    continue;
                }
                () = tokio::time::sleep(RETRY), if retry => {}
            }
            // What waits already is taken in first: a thousand changes cost one plan.
            while let Ok(changes) = inputs.file_changes.try_recv() {
                self.take_files(changes);
            }
            while let Some(Ok(changes)) = inputs.kube_changes.as_mut().map(mpsc::Receiver::try_recv) {
                self.take_kube(changes);
            }
            while let Ok(changes) = inputs.cgroup_changes.try_recv() {
                self.take_cgroups(changes);
            }
            if let Some(changes) = &mut inputs.pod_changes {
                while let Ok(changes) = changes.try_recv() {
                    self.take_pods(changes);
                }
            }
            while let Ok(update) = inputs.name_updates.try_recv() {
                self.apply(update);
            }
            retry = self.bring_up_to_date();
        }
    }

    /// Says how many events did not fit the ring buffer since it was last said.
    fn report_lost(&mut self) {
        let counters = match self.datapath.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!("what the programs counted is not known: {error:#}");
                return;
            }
        };
        let lost = counters.get(&Counter::Lost).copied().unwrap_or_default();
        if lost > self.lost {
            tracing::warn!(
                "{} flows were decided and not logged: they came faster than they are read",
                lost - self.lost
            );
        }
        self.lost = lost;
    }
}

/// The next message; never, if there is no channel.
pub(super) async fn next<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}
