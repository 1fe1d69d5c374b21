//! What the owner says to those who ask: the self-proof and the control socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use anyhow::Result;
use enforcer_common::{Binding, CgroupId, Mode};
use enforcer_core::policy::Desired;
use tokio::sync::oneshot;

use super::{inputs::Control, owner::Owner, revocation::Due};
use crate::{
    config::Enforcement,
    control::{Standing, StandingRoot, Untold, Usage},
    datapath::{Cgroup, Inspection, Lapse},
    proof::Question,
    report::once::{IN_STATUS, Once},
};

/// What became of the last plan, and what was said of it.
pub(super) struct Outcome {
    pub(super) desired: Arc<Desired>,
    /// What of it is there and fits.
    pub(super) fitted: Desired,
    /// Why the kernel does not hold what it should.
    failed: Option<String>,
    /// Why the programs do not run at roots that are there.
    pub(super) refused: BTreeMap<CgroupId, String>,
    /// Lapses that stay are said once.
    lapses: Once,
    /// When the maps are to be compared again.
    compare: Instant,
    mode: Enforcement,
}

/// How much of the time may go into comparing the maps with what was put there, as its inverse.
const SHARE: u32 = 200;

impl Outcome {
    pub(super) fn new(mode: Enforcement) -> Self {
        Self {
            desired: Arc::default(),
            fitted: Desired::default(),
            failed: None,
            refused: BTreeMap::new(),
            lapses: Once::listed(IN_STATUS),
            compare: Instant::now(),
            mode,
        }
    }
}

impl Owner {
    /// Brings the kernel to what the registry says; says whether that is to be tried again.
    pub(super) fn bring_up_to_date(&mut self) -> bool {
        let failed = self.reconcile().err().map(|error| format!("{error:#}"));
        let retry = failed.is_some()
            || !self.unattached.is_empty()
            || self
                .revocation
                .as_ref()
                .is_some_and(super::revocation::Revocation::is_due);
        for failure in self.failures.news(failed.iter().cloned().collect()) {
            tracing::error!(
                "the kernel does not hold what it should: what has not come into force is as it was before, and it is \
                 tried again: {failure}"
            );
        }
        self.outcome.failed = failed;
        retry
    }

    /// Answers at once.
    pub(super) fn answer(&mut self, control: Control) {
        match control {
            Control::Proof(question) => self.answer_proof(question),
            Control::Standing(reply) => self.answer_standing(reply),
            Control::Sockets(report) => {
                if let Some(revocation) = &mut self.revocation {
                    revocation.take(report);
                }
            }
        }
    }

    fn answer_proof(&mut self, question: Question) {
        // Who does not wait for the answer any more is about to end.
        let heard = match question {
            // The maps are those of an earlier start, which this one must not change yet.
            Question::Inspect(reply) if !self.is_started => reply.send(Inspection::default()).is_ok(),
            Question::Bind(_, reply) if !self.is_started => {
                reply.send(Err(anyhow::anyhow!("the start is not over"))).is_ok()
            }
            Question::Inspect(reply) => {
                let mut inspection = self.datapath.inspect();
                inspection.lapses.extend(self.compare());
                let (stays, mended): (Vec<_>, Vec<_>) =
                    inspection.lapses.iter().partition(|lapse| lapse.stays.is_some());
                let is_mended = !mended.is_empty();
                let stays = stays.into_iter().map(ToString::to_string).collect();
                let mended = mended.into_iter().map(ToString::to_string);
                for lapse in self.outcome.lapses.news(stays).into_iter().chain(mended) {
                    tracing::error!("alarm: {lapse}");
                }
                if let (true, Some(revocation)) = (is_mended, &mut self.revocation) {
                    // What has come through meanwhile ends, if it is not allowed.
                    revocation.note(Due::Everything);
                    self.bring_up_to_date();
                }
                reply.send(inspection).is_ok()
            }
            Question::Bind(cgroups, reply) => {
                self.canaries.set(cgroups);
                reply.send(self.reconcile()).is_ok()
            }
        };
        if !heard {
            tracing::debug!("the self-proof did not wait for its answer");
        }
    }

    /// Compares the maps with what was put there, as often as it costs little; puts it there again if they differ.
    fn compare(&mut self) -> Option<Lapse> {
        let start = Instant::now();
        if start < self.outcome.compare {
            return None;
        }
        let holds = self.datapath.holds(&self.applied);
        self.outcome.compare = Instant::now() + start.elapsed() * SHARE;
        if matches!(holds, Ok(true)) {
            return None;
        }
        let restored = self.restore();
        Some(Lapse {
            what: "the maps held something else than was put there".to_owned(),
            stays: restored.err().map(|error| format!("{error:#}")),
        })
    }

    fn restore(&mut self) -> Result<()> {
        self.datapath.restore_settings()?;
        self.applied = self.datapath.read_back()?;
        self.reconcile()
    }

    fn answer_standing(&mut self, reply: oneshot::Sender<Standing>) {
        if reply.send(self.standing()).is_err() {
            tracing::debug!("nobody waits for the status any more");
        }
    }

    fn standing(&mut self) -> Standing {
        let roots = self.places.roots().map(|path| StandingRoot {
            path: path.to_owned(),
            is_there: self.cgroups.values().any(|cgroup| cgroup.path == path),
            is_required: self.places.is_required(path),
        });
        let is_of_pods = |cgroup: &&Cgroup| self.pods.as_ref().is_some_and(|pods| pods.is_root(cgroup.id));
        let of_pods = self.cgroups.values().filter(is_of_pods);
        let roots = roots.chain(of_pods.map(|cgroup| StandingRoot {
            path: cgroup.path.clone(),
            is_there: true,
            is_required: true,
        }));
        let roots: Vec<_> = roots.collect();
        let mut problems: Vec<_> = self.outcome.failed.iter().cloned().collect();
        if !self.is_started {
            problems.push("the first lists of all sources are not applied yet".to_owned());
        }
        problems.extend(self.unattached.iter().map(|(id, root)| {
            let refused = self.outcome.refused.get(id).cloned();
            refused.unwrap_or_else(|| format!("not enforcing at {}", root.path.display()))
        }));
        let short = self
            .room
            .fullness()
            .tables
            .iter()
            .filter(|(_, usage)| usage.is_exceeded());
        problems.extend(short.map(|(table, usage)| {
            let (needed, capacity) = (usage.needed, usage.capacity);
            format!("capacities.{table} is too small: {needed} are needed, {capacity} fit; what does not is refused")
        }));
        let has_pods = self.cgroups.values().any(|cgroup| is_of_pods(&cgroup));
        if self.pods.is_some() && !has_pods {
            problems.push(
                "the kubelet's cgroup of all pods is not there: no pod is enforced until the kubelet makes it; `pods` in \
                 the configuration is for nodes of a cluster alone"
                    .to_owned(),
            );
        }
        let revocation = self.revocation.as_ref();
        problems.extend(revocation.into_iter().flat_map(|it| it.problems(&self.registry)));
        let lost = match self.datapath.counters() {
            Ok(counters) => counters.get(&enforcer_common::Counter::Lost).copied(),
            Err(error) => {
                problems.push(format!("{error:#}"));
                None
            }
        };
        let is_configured = |cgroup: &&Cgroup| {
            self.places.is_root(&cgroup.path) || self.places.workload(&cgroup.path).is_some()
        };
        let configured = self.cgroups.values().filter(is_configured).count();
        Standing {
            mode: match self.outcome.mode {
                Enforcement::Enforce => "enforce",
                Enforcement::Audit => "audit",
            },
            allow_any: self.allow_any(),
            roots,
            closures: self.datapath.closures().to_vec(),
            usage: self.usage(),
            rejected: self
                .documents
                .problems()
                .iter()
                .map(ToString::to_string)
                .collect(),
            warnings: self.suspicions().into_iter().collect(),
            file_objects: self.documents.len(),
            workloads: configured,
            pods: self.cgroups.len() - configured,
            lost: lost.unwrap_or_default(),
            untold: self.untold(),
            problems,
        }
    }

    /// Workloads that may reach everything by ALLOW_ANY.
    pub(super) fn allow_any(&self) -> Vec<String> {
        let is_let_through = |binding: &Binding| {
            let policy = self.applied.policies.get(&binding.policy);
            policy.is_some_and(|policy| policy.mode == Mode::Observe as u32)
        };
        let bound = self.applied.workloads.iter();
        let let_through = bound.filter(|(_, binding)| is_let_through(binding));
        let names = let_through.filter_map(|(workload, _)| self.registry.workload(*workload));
        let names: BTreeSet<_> = names.map(ToString::to_string).collect();
        names.into_iter().collect()
    }

    /// Of which workloads events were left out of the log, the most first.
    fn untold(&self) -> Vec<Untold> {
        let all = self.flows.untold.all();
        let mut all: Vec<_> = all
            .map(|(workload, events)| Untold {
                workload: workload.to_owned(),
                events,
            })
            .collect();
        all.sort_by_key(|untold| std::cmp::Reverse(untold.events));
        all
    }

    /// What is in each map, the canary's left out.
    fn usage(&self) -> Vec<Usage> {
        let tables = self.room.fullness().tables.iter();
        let usage = tables.map(|(table, usage)| Usage {
            name: table.to_string(),
            used: usage.used,
            capacity: usage.capacity,
            needed: usage.needed,
        });
        usage.collect()
    }
}
