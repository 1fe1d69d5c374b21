//! From what the registry says to what the kernel holds, and from there to the sockets that are open.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use enforcer_common::{Binding, CgroupId, Mode};
use enforcer_core::{
    model::Host,
    plan::{Applied, Plan, PlanKind, diff_within},
};

use super::{owner::Owner, places::present, revocation::Due};
use crate::{
    datapath::{Attached, Cgroup},
    proof,
    revoke::Place,
};

impl Owner {
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
        if is_news {
            self.outcome.fitted = self.room.fit(present(&all), &mut self.registry);
        }
        let mut desired = self.outcome.fitted.clone();
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
                .refuse_unknown(leaves_out || matches!(course, PlanKind::RemovalsFirst(_)))?;
            let due = self.due_after(&plan);
            if let Some(revocation) = &mut self.revocation {
                revocation.note(due);
            }
            if let Err(error) = self.datapath.carry_out(&plan.changes) {
                // Nobody knows which of them are in force: what all of them may take away stays due.
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
        self.sweep(&wanted)
    }

    /// Whose sockets the plan may make unwelcome.
    fn due_after(&self, plan: &Plan) -> Due {
        let mut due = plan.restricted(&self.applied);
        // Those without a folder are the canary's: it comes and goes, and takes nothing from anybody.
        due.retain(|workload| self.cgroups.contains_key(workload));
        for workload in plan.forgotten(&self.applied) {
            match self.cgroups.get(&workload) {
                // Its processes are those of a workload above it from now on.
                Some(forgotten) => due.extend(self.above(forgotten)),
                // Nobody knows what has become of it while no enforcer ran.
                None if !self.is_started && !self.canaries.has(workload) => return Due::Everything,
                None => {}
            }
        }
        Due::Of(due)
    }

    /// What lies above a cgroup.
    fn above(&self, cgroup: &Cgroup) -> impl Iterator<Item = CgroupId> {
        let is_above = |other: &&Cgroup| other.id != cgroup.id && cgroup.path.starts_with(&other.path);
        self.cgroups.values().filter(is_above).map(|cgroup| cgroup.id)
    }

    /// Has sockets looked for that what was done has made unwelcome.
    fn sweep(&mut self, wanted: &BTreeSet<Host>) -> Result<()> {
        let Some(revocation) = &mut self.revocation else {
            return Ok(());
        };
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
    pub(super) fn is_root(&self, cgroup: &Cgroup) -> bool {
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

    /// Attaches where programs are missing. A root that fails keeps no other from being enforced.
    fn attach(&mut self) {
        self.outcome.refused.clear();
        for (id, root) in std::mem::take(&mut self.unattached) {
            match self.datapath.attach(&root) {
                Ok(attached) => {
                    tracing::info!("enforcing at {}", root.path.display());
                    if let (Some(revocation), Attached::Anew) = (&mut self.revocation, attached) {
                        revocation.note(Due::Everything);
                    }
                }
                // It may be gone already, of which the next change tells.
                Err(error) => {
                    let refusal = format!("not enforcing at {}: {error:#}", root.path.display());
                    self.outcome.refused.insert(id, refusal);
                    self.unattached.insert(id, root);
                }
            }
        }
        let refused = self.outcome.refused.values().cloned().collect();
        for refusal in self.refusals.news(refused) {
            tracing::error!("{refusal}; trying again");
        }
    }
}
