//! From what the registry says to what the kernel holds, and from there to the sockets that are open.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use enforcer_common::{Binding, Mode};
use enforcer_core::{
    model::Host,
    plan::{Applied, Change, Course, diff_within},
};

use super::{owner::Owner, places::present};
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
                .refuse_unknown(leaves_out || matches!(course, Course::RemovalsFirst(_)))?;
            // What comes and goes with the canary takes nothing away from anybody.
            if let (true, Some(revocation)) = (is_news, &mut self.revocation) {
                revocation.foresee(&plan.changes);
            }
            if let Err(error) = self.datapath.carry_out(&plan.changes) {
                // Nobody knows which of them are in force: what they may take away is looked for, and the next plan
                // is one of news, however little has changed.
                if let Some(revocation) = &mut self.revocation {
                    revocation.note_changes(&plan.changes);
                }
                self.outcome.desired = Arc::default();
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
