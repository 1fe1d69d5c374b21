//! Which installed policy becomes which desired one.
//!
//! A policy is changed in place if most of its workloads stay with it. It gets a new, unused identifier where the
//! phases would break their promises: if its mode changes, if some workloads join it and others leave, if
//! workloads join while it loses a rule (they would see the rule before it is removed), or leave while it gains
//! one or leaves the shared scope.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{CgroupId, PolicyId, Scope};

use super::{Applied, own_scope, value};
use crate::policy::{Desired, DesiredPolicy};

/// The identifier of each of `desired.policies`, in their order.
pub(super) fn pair(applied: &Applied, desired: &Desired) -> Vec<PolicyId> {
    let kept = kept(applied, desired);
    let mut unused = unused(applied);
    desired
        .policies
        .iter()
        .enumerate()
        .map(|(index, policy)| match kept.get(&index) {
            Some(id) if can_change_in_place(applied, desired, policy, *id) => *id,
            _ => unused.next().expect("there are more identifiers than policies"),
        })
        .collect()
}

/// The same, but every policy that has an installed one is changed in place: for a plan that removes first.
pub(super) fn keep_all(applied: &Applied, desired: &Desired) -> Vec<PolicyId> {
    let kept = kept(applied, desired);
    let mut unused = unused(applied);
    let mut id = |index| {
        kept.get(&index)
            .copied()
            .unwrap_or_else(|| unused.next().expect("there are more identifiers than policies"))
    };
    (0..desired.policies.len()).map(&mut id).collect()
}

/// By index of the desired policy, the installed one that most of its workloads are bound to. No two share one.
fn kept(applied: &Applied, desired: &Desired) -> BTreeMap<usize, PolicyId> {
    let mut votes = BTreeMap::<(usize, PolicyId), usize>::new();
    for (index, policy) in desired.policies.iter().enumerate() {
        for id in policy
            .workloads
            .iter()
            .filter_map(|workload| applied.workloads.get(workload))
            .map(|binding| &binding.policy)
        {
            if applied
                .policies
                .get(id)
                .is_some_and(|value| value.own == own_scope(*id))
            {
                *votes.entry((index, *id)).or_default() += 1;
            }
        }
    }
    let mut votes: Vec<_> = votes.into_iter().collect();
    votes.sort_by_key(|(pair, count)| (std::cmp::Reverse(*count), *pair));
    let mut kept = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for ((index, id), _) in votes {
        if !kept.contains_key(&index) && taken.insert(id) {
            kept.insert(index, id);
        }
    }
    kept
}

/// Identifiers that no policy has, and no rule left by an interrupted plan.
pub(super) fn unused(applied: &Applied) -> impl Iterator<Item = PolicyId> + '_ {
    let bound: BTreeSet<PolicyId> = applied.workloads.values().map(|binding| binding.policy).collect();
    (1..u32::MAX).map(PolicyId).filter(move |id| {
        !applied.policies.contains_key(id)
            && !bound.contains(id)
            && !applied.scopes.contains_key(&own_scope(*id))
            && !applied
                .policies
                .values()
                .any(|policy| policy.own == own_scope(*id))
    })
}

fn can_change_in_place(applied: &Applied, desired: &Desired, policy: &DesiredPolicy, id: PolicyId) -> bool {
    let bound_to = |workload: &CgroupId| applied.workloads.get(workload).map(|binding| binding.policy);
    let come = policy
        .workloads
        .iter()
        .any(|workload| bound_to(workload).is_some_and(|bound| bound != id));
    let leave = applied
        .workloads
        .iter()
        .any(|(workload, bound)| bound.policy == id && !policy.workloads.contains(workload));
    let (old, new) = (&applied.policies[&id], value(id, policy));
    let unchanged_own = applied
        .scopes
        .get(&old.own)
        .is_some_and(|own| Arc::ptr_eq(own, &policy.own));
    let crosses = old.shared != new.shared && old.shared != Scope::NONE && new.shared != Scope::NONE;
    if old.mode != new.mode || old.flags != new.flags || crosses || (come && leave) {
        return false;
    }
    if !(come || leave) || (unchanged_own && *old == new) {
        return true;
    }
    let (shared_before, shares_after) = (old.shared != Scope::NONE, policy.shares.is_some());
    let (own_before, in_shared) = (applied.rules(old.own), applied.rules(old.shared));
    let in_old = |rule| own_before.contains(rule) || in_shared.contains(rule);
    let in_new = |rule| policy.own.contains(rule) || desired.shared_by(policy).contains(rule);
    let loses = !own_before.iter().all(in_new);
    // What the shared scope gains becomes visible only after workloads that move to a policy without it have left.
    let gains = !policy.own.iter().all(in_old) || (shares_after && !shared_before);
    let quits = shared_before && !shares_after;
    !(come && loses || leave && (gains || quits))
}
