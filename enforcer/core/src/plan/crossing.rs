//! Workloads that go from one shared scope to the other: it is known of a pod only later that it has a proxy, or the
//! configuration changes.
//!
//! Such a workload may see what neither scope is to gain or lose meanwhile. So it is first bound to a policy that shares
//! nothing and has those of its rules which it may keep; from there it joins the other scope as every workload does that
//! starts to share.

use std::{collections::BTreeMap, sync::Arc};

use enforcer_common::{Binding, CgroupId, Mode, Policy, PolicyId, Scope, Transport};

use super::{Applied, Change, bounded::overlaps, own_scope, pairing};
use crate::rule::{Rule, Rules, To};

/// The workloads that share one scope before and another after, by their policies before.
pub(super) fn find(applied: &Applied, after: &Applied) -> BTreeMap<PolicyId, Vec<CgroupId>> {
    let shared = |state: &Applied, binding: &Binding| {
        let policy = state.policies.get(&binding.policy)?;
        (policy.shared != Scope::NONE).then_some(policy.shared)
    };
    let mut crossing: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (workload, from) in &applied.workloads {
        let to = after.workloads.get(workload).and_then(|to| shared(after, to));
        if let (Some(before), Some(to)) = (shared(applied, from), to)
            && before != to
        {
            crossing.entry(from.policy).or_default().push(*workload);
        }
    }
    crossing
}

/// The changes that give those workloads policies without a shared scope, and the state after them.
pub(super) fn detach(
    applied: &Applied,
    desired: &Applied,
    crossing: &BTreeMap<PolicyId, Vec<CgroupId>>,
) -> (Vec<Change>, Applied) {
    let mut after = applied.clone();
    let mut changes = Vec::new();
    for ((old, workloads), id) in crossing.iter().zip(pairing::unused(applied)) {
        let old = applied.policies[old];
        let mut rules: Rules = applied.rules(old.own).clone();
        rules.extend(applied.rules(old.shared));
        let bindings: Vec<&Binding> = workloads.iter().map(|it| &desired.workloads[it]).collect();
        rules.retain(|rule| bindings.iter().any(|to| desired.may_keep(to, rule)));
        let policy = Policy {
            own: own_scope(id),
            shared: Scope::NONE,
            ..old
        };
        changes.extend(rules.iter().map(|rule| Change::AddRule(policy.own, *rule)));
        changes.push(Change::SetPolicy(id, policy));
        for workload in workloads {
            let binding = Binding {
                policy: id,
                ..applied.workloads[workload]
            };
            changes.push(Change::Bind(*workload, binding));
            after.workloads.insert(*workload, binding);
        }
        if !rules.is_empty() {
            after.scopes.insert(policy.own, Arc::new(rules));
        }
        after.policies.insert(id, policy);
    }
    (changes, after)
}

impl Applied {
    /// Whether a workload that is bound so may be allowed something that `rule` allows; false only if that is certain.
    fn may_keep(&self, to: &Binding, rule: &Rule) -> bool {
        let policy = &self.policies[&to.policy];
        let is_own = match rule.to {
            To::Address(address) => to.owns(&address.into()),
            To::Any | To::Network(_) | To::Host(_) => to.own != Binding::new(to.policy).own,
        };
        let allows_udp = policy.flags & Policy::FLAG_ALLOW_UDP != 0 && rule.transport == Transport::Udp;
        policy.mode != Mode::Enforce as u32
            || is_own
            || allows_udp
            || [policy.own, policy.shared]
                .into_iter()
                .any(|scope| overlaps(self.rules(scope), rule))
    }
}
