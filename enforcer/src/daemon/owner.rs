//! The one task that owns the registry and the datapath.
//!
//! Whatever comes in changes the registry; then the plan from what the kernel holds to what it should hold is
//! carried out. A plan that fails half-way is taken up from what the maps really hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer_common::{Binding, CgroupId, Counter, Event, Mode};
use enforcer_core::{
    documents::Documents,
    model::Host,
    plan::{Applied, Change, Course, diff_within},
    registry::{Registry, Update},
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    answers::Outcome,
    flows::Flows,
    places::{Places, present},
    pods::NodePods,
    precedence::Precedence,
    revocation::Revocation,
    room::Room,
};
use crate::{
    control::Standing,
    datapath::{Attached, Cgroup, Datapath},
    proof::{self, Canaries},
    report::{log::LogFormat, once::Once},
    revoke::{Live, Place},
    sources::{
        cgroups::CgroupChange,
        files::{Content, FileChange},
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
    /// Sockets that a sweep has found; None if none is ever made.
    pub(super) live_sockets: Option<mpsc::Receiver<Vec<Live>>>,
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
                live = next(&mut inputs.live_sockets) => {
                    if let Some(revocation) = &mut self.revocation {
                        revocation.judge(live.context("no more sockets")?, &mut self.registry).await?;
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

    pub(super) fn take_files(&mut self, changes: Vec<FileChange>) {
        for FileChange { path, content } in changes {
            let name = path.display().to_string();
            let updates = match content {
                Content::Text(text) => self.documents.set(&name, Some(&text)),
                Content::Gone => self.documents.set(&name, None),
                Content::Unreadable(reason) => {
                    self.documents.set_unreadable(&name, &reason);
                    Vec::new()
                }
            };
            for update in updates {
                if let Some(update) = self.precedence.of_file(update) {
                    self.apply(update);
                }
            }
        }
        let problems = self
            .documents
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        for problem in self.problems.news(problems) {
            tracing::error!("{problem}");
        }
        self.say_warnings();
    }

    /// Says what is suspicious about the registry as a whole, if it was not said already.
    pub(super) fn say_warnings(&mut self) {
        let warnings = self.registry.warnings().iter().map(ToString::to_string).collect();
        for warning in self.warnings.news(warnings) {
            tracing::warn!("{warning}");
        }
    }

    /// Takes one change in. Every update of the registry comes through here, wherever it is from.
    pub(super) fn apply(&mut self, update: Update) {
        if let Some(revocation) = &mut self.revocation {
            revocation.note_update(&update);
        }
        let of_pods = self.pods.as_mut().map(|pods| pods.note(&update));
        self.registry.apply(update);
        self.set_workloads(of_pods.unwrap_or_default());
    }

    pub(super) fn take_cgroups(&mut self, changes: Vec<CgroupChange>) {
        for change in changes {
            match change {
                CgroupChange::Appeared(cgroup) => {
                    if let Some(workload) = self.places.workload(&cgroup.path) {
                        tracing::info!("workload {workload} is at {}", cgroup.path.display());
                        let workload = workload.clone();
                        self.apply(Update::Workload(cgroup.id, workload));
                    }
                    if self.places.is_root(&cgroup.path) {
                        self.unattached.insert(cgroup.id, cgroup.clone());
                    }
                    self.cgroups.insert(cgroup.id, cgroup);
                }
                CgroupChange::Gone(cgroup) => {
                    if let Some(workload) = self.places.workload(&cgroup.path) {
                        tracing::info!("workload {workload} is gone from {}", cgroup.path.display());
                        self.apply(Update::WorkloadGone(cgroup.id));
                    }
                    self.unattached.remove(&cgroup.id);
                    self.cgroups.remove(&cgroup.id);
                    if let Err(error) = self.datapath.detach(&cgroup.path) {
                        tracing::error!("{}: {error:#}", cgroup.path.display());
                    }
                }
            }
        }
    }

    fn take_resolvers(&mut self, servers: &[SocketAddr]) {
        if self.allow_resolvers {
            self.registry
                .set_resolvers(servers.iter().map(SocketAddr::ip).collect());
        }
    }

    /// Brings the kernel to what the registry says, then attaches where programs are missing.
    pub(super) fn reconcile(&mut self) -> Result<()> {
        if let Some(pods) = &mut self.pods {
            pods.report(&self.registry, &self.cgroups);
        }
        let wanted = self.registry.hosts();
        self.hosts.send_if_modified(|hosts| {
            let differs = *hosts != *wanted;
            if differs {
                hosts.clone_from(&wanted);
            }
            differs
        });
        let all = self.registry.desired();
        let is_news = !Arc::ptr_eq(&all, &self.outcome.desired);
        self.outcome.desired = Arc::clone(&all);
        let mut desired = self.room.fit(present(&all), &mut self.registry);
        let canary = proof::policy(self.canaries.now().iter().map(|cgroup| cgroup.id));
        desired.policies.extend(canary);
        let (plan, course) = diff_within(
            &self.applied,
            &desired,
            &proof::room_beside(self.room.capacities()),
        );
        self.room.note_course(course);
        let leaves_out = self.room.leaves_workloads_out();
        if !plan.changes.is_empty() {
            self.set_depths(true)?;
            self.datapath
                .refuse_unknown(leaves_out || matches!(course, Course::RemovalsFirst(_)))?;
            // What comes and goes with the canary takes nothing away from anybody.
            if let (true, Some(revocation)) = (is_news, &mut self.revocation) {
                revocation.foresee(&plan.changes);
            }
            if let Err(error) = self.datapath.carry_out(&plan.changes) {
                self.applied = self.datapath.read_back()?;
                return Err(error);
            }
            if is_news {
                let (changes, fullness) = (plan.changes.len(), self.room.fullness());
                tracing::debug!(changes, tables = ?fullness.tables, "the kernel's maps are up to date");
            }
        }
        self.applied = plan.after;
        self.datapath.refuse_unknown(leaves_out)?;
        self.set_depths(false)?;
        self.attach();
        let changes = if is_news { plan.changes.as_slice() } else { &[] };
        self.sweep(changes, &wanted)
    }

    /// Has sockets looked for that the changes have made unwelcome.
    fn sweep(&mut self, changes: &[Change], wanted: &BTreeSet<Host>) -> Result<()> {
        let Some(revocation) = &mut self.revocation else {
            return Ok(());
        };
        revocation.note_changes(changes);
        let Applied {
            workloads, policies, ..
        } = &self.applied;
        let is_looked_at = |binding: &Binding| {
            let policy = policies.get(&binding.policy);
            policy.is_none_or(|policy| policy.mode != Mode::Off as u32)
        };
        let bound = workloads.iter().filter(|(_, binding)| is_looked_at(binding));
        let places = bound
            .filter_map(|(id, _)| self.cgroups.get(id))
            .map(|cgroup| Place {
                cgroup: cgroup.id,
                folder: cgroup.folder.clone(),
            });
        revocation.sweep(wanted, places, workloads.keys())
    }

    /// Whether everything below a cgroup is enforced.
    fn is_root(&self, cgroup: &Cgroup) -> bool {
        let of_pods = self.pods.as_ref().is_some_and(|pods| pods.is_root(cgroup.id));
        of_pods || self.places.is_root(&cgroup.path)
    }

    /// Looks for workloads at every depth that one has or, while a plan is carried out, that one had.
    pub(super) fn set_depths(&mut self, with_former: bool) -> Result<()> {
        let depths = self.cgroups.values().map(Cgroup::depths);
        let mut depths: BTreeSet<u32> = depths
            .flat_map(|depths| [*depths.start(), *depths.end()])
            .collect();
        let roots = self.cgroups.values().filter(|cgroup| self.is_root(cgroup));
        depths.extend(roots.flat_map(|root| {
            let depths = root.depths();
            let canary = depths.start() + proof::LEVELS;
            [canary, canary.max(*depths.end())]
        }));
        if with_former {
            depths.extend([self.datapath.depths().start(), self.datapath.depths().end()].map(|depth| *depth));
        }
        match (depths.first(), depths.last()) {
            (Some(first), Some(last)) => self.datapath.set_depths(*first..=*last),
            _ => Ok(()),
        }
    }

    fn attach(&mut self) {
        let mut refusals = BTreeSet::new();
        for (id, root) in std::mem::take(&mut self.unattached) {
            match self.datapath.attach(&root) {
                Ok(attached) => {
                    tracing::info!("enforcing at {}", root.path.display());
                    if let (Some(revocation), Attached::Anew) = (&mut self.revocation, attached) {
                        revocation.note_attached();
                    }
                }
                // It may be gone already, of which the next change tells.
                Err(error) => {
                    refusals.insert(format!("not enforcing at {}: {error:#}", root.path.display()));
                    self.unattached.insert(id, root);
                }
            }
        }
        for refusal in self.refusals.news(refusals) {
            tracing::error!("{refusal}");
        }
    }
}

/// The next message; never, if there is no channel.
pub(super) async fn next<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}
