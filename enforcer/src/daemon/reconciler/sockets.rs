//! Open sockets: whose are looked for after a plan, and what becomes of those that are found.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use enforcer_common::{Binding, CgroupId, Mode};
use enforcer_core::{
    model::Host,
    plan::{Applied, Plan},
    registry::Update,
};

use super::{
    Reconciler,
    revocation::{Due, Revocation},
};
use crate::{
    daemon::ingest::Ingest,
    datapath::Cgroup,
    revoke::{Place, Report},
};

impl Reconciler {
    /// Notes whose sockets a plan may make unwelcome.
    pub(super) fn note_due(&mut self, plan: &Plan, ingest: &Ingest) {
        let due = self.due_after(plan, ingest);
        if let Some(revocation) = &mut self.revocation {
            revocation.note(due);
        }
    }

    fn due_after(&self, plan: &Plan, ingest: &Ingest) -> Due {
        let mut due = plan.restricted(&self.applied);
        // Those without a folder are the canary's: it comes and goes, and takes nothing from anybody.
        due.retain(|workload| ingest.cgroups().contains_key(workload));
        for workload in plan.forgotten(&self.applied) {
            match ingest.cgroups().get(&workload) {
                // Its processes are those of a workload above it from now on.
                Some(forgotten) => due.extend(above(forgotten, ingest.cgroups())),
                // Nobody knows what has become of it while no enforcer ran.
                None if !self.is_in_force && !self.canaries.has(workload) => return Due::Everything,
                None => {}
            }
        }
        Due::Of(due)
    }

    /// Has sockets looked for that what was done has made unwelcome.
    pub(super) fn sweep(&mut self, wanted: &BTreeSet<Host>, ingest: &Ingest) -> Result<()> {
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
            .filter_map(|(id, _)| ingest.cgroups().get(id))
            .map(|cgroup| Place {
                cgroup: cgroup.id,
                folder: cgroup.folder.clone(),
            });
        revocation.sweep(wanted, places, workloads.keys())
    }

    /// Remembers addresses that a host has now: a socket to one of them stays when the host's answer changes.
    pub(in crate::daemon) fn remember_addresses(&mut self, update: &Update) {
        if let Some(revocation) = &mut self.revocation {
            revocation.note_update(update);
        }
    }

    pub(in crate::daemon) fn note_sockets(&mut self, report: Report) {
        if let Some(revocation) = &mut self.revocation {
            revocation.take(report);
        }
    }

    /// Whether sockets are to be judged.
    pub(in crate::daemon) fn has_sockets(&self) -> bool {
        self.revocation.as_ref().is_some_and(Revocation::has_sockets)
    }

    pub(in crate::daemon) fn judge_sockets(&mut self, ingest: &mut Ingest) -> Result<()> {
        match &mut self.revocation {
            Some(revocation) => {
                let (datapath, former) = (&self.datapath, &self.former);
                revocation.judge(ingest.registry(), |workload, address| {
                    let given = datapath.given(workload, address)?;
                    Ok(&given.ever() | &former.hosts(workload, address))
                })
            }
            None => Ok(()),
        }
    }

    /// Whether requests wait for the `revoke` task.
    pub(in crate::daemon) fn waits_for_revoker(&self) -> bool {
        self.revocation.as_ref().is_some_and(Revocation::waits)
    }

    /// Asks for what had to wait; returns whether a sweep is among it, which a plan asks for.
    pub(in crate::daemon) fn resume_revocation(&mut self) -> Result<bool> {
        match &mut self.revocation {
            Some(revocation) => revocation.go_on(),
            None => Ok(false),
        }
    }

    /// Has workloads looked at again of which something is hidden or still open, and says so; returns whether there are
    /// any.
    pub(in crate::daemon) fn look_again(&mut self, ingest: &Ingest) -> bool {
        let problems = self.unrevoked(ingest).into_iter().collect();
        for problem in self.unrevoked.news(problems) {
            tracing::error!("{problem}");
        }
        self.revocation.as_mut().is_some_and(Revocation::look_again)
    }

    /// What keeps connections open that are no longer allowed, a line each.
    pub(super) fn unrevoked(&self, ingest: &Ingest) -> Vec<String> {
        let revocation = self.revocation.as_ref();
        revocation
            .map(|revocation| revocation.problems(ingest))
            .unwrap_or_default()
    }

    /// Writes to the state folder what has changed a while ago. Returns how many ended sockets of each workload were
    /// not told of.
    pub(in crate::daemon) fn write_memory(&mut self) -> BTreeMap<CgroupId, u64> {
        match &mut self.revocation {
            Some(revocation) => {
                revocation.write();
                revocation.ended.take_suppressed()
            }
            None => BTreeMap::new(),
        }
    }
}

/// What lies above a cgroup.
fn above<'a>(cgroup: &'a Cgroup, all: &'a BTreeMap<CgroupId, Cgroup>) -> impl Iterator<Item = CgroupId> + 'a {
    let is_above = |other: &&Cgroup| other.id != cgroup.id && cgroup.path.starts_with(&other.path);
    all.values().filter(is_above).map(|cgroup| cgroup.id)
}
