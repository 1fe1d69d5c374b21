//! Workloads that a plan restricts: their open sockets have to be looked at.

use std::collections::BTreeSet;

use enforcer_common::{CgroupId, Policy, PolicyId, Scope};

use super::{Applied, Plan};

impl Plan {
    /// Workloads that may be allowed less by what the plan leads to than by `applied`, from which it leads there: those
    /// that are new or bound anew, and those whose policy becomes another or loses rules.
    pub fn restricted(&self, applied: &Applied) -> BTreeSet<CgroupId> {
        let is_less = |scope: &Scope| applied.missing_in(&self.after, *scope).next().is_some();
        let less: BTreeSet<Scope> = applied.scopes.keys().copied().filter(is_less).collect();
        let loses = |(id, policy): &(&PolicyId, &Policy)| {
            let is_other = applied.policies.get(id) != Some(policy);
            is_other || less.contains(&policy.own) || less.contains(&policy.shared)
        };
        let policies: BTreeSet<PolicyId> = self
            .after
            .policies
            .iter()
            .filter(loses)
            .map(|(id, _)| *id)
            .collect();
        let bound = self.after.workloads.iter();
        bound
            .filter(|(workload, binding)| {
                policies.contains(&binding.policy) || applied.workloads.get(workload) != Some(binding)
            })
            .map(|(workload, _)| *workload)
            .collect()
    }

    /// Workloads of `applied` that are none any more.
    pub fn forgotten<'a>(&'a self, applied: &'a Applied) -> impl Iterator<Item = CgroupId> + 'a {
        let is_gone = |workload: &CgroupId| !self.after.workloads.contains_key(workload);
        applied.workloads.keys().copied().filter(is_gone)
    }
}
