//! Workloads that a plan restricts: their open sockets have to be checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{Binding, CgroupId, Mode, Policy, PolicyId, Scope};

use super::{Applied, Plan, SHARED};
use crate::rule::Rule;

impl Plan {
    /// Workloads that may be allowed less after the plan than by `applied`, where it starts: new ones, and those
    /// that lose a rule, an own address or a laxer mode. Which policy has the rules does not matter: a workload
    /// that moves to a policy with more rules loses nothing.
    pub fn restricted(&self, applied: &Applied) -> BTreeSet<CgroupId> {
        let mut comparison = Comparison {
            before: applied,
            after: &self.after,
            shared_gone: SHARED
                .into_iter()
                .map(|scope| (scope, applied.missing_in(&self.after, scope).collect()))
                .collect(),
            known: BTreeMap::new(),
        };
        let bound = self.after.workloads.iter();
        bound
            .filter(|(workload, now)| comparison.restricts(applied.workloads.get(workload), now))
            .map(|(workload, _)| *workload)
            .collect()
    }

    /// Workloads of `applied` that do not exist after the plan.
    pub fn forgotten<'a>(&'a self, applied: &'a Applied) -> impl Iterator<Item = CgroupId> + 'a {
        let is_gone = |workload: &CgroupId| !self.after.workloads.contains_key(workload);
        applied.workloads.keys().copied().filter(is_gone)
    }
}

/// The states before and after, with the pairs of policies that were already compared.
struct Comparison<'a> {
    before: &'a Applied,
    after: &'a Applied,
    /// Rules removed from each shared scope. It may be large and many policies have it, so it is compared once.
    shared_gone: BTreeMap<Scope, Vec<&'a Rule>>,
    known: BTreeMap<(PolicyId, PolicyId), bool>,
}

impl Comparison<'_> {
    /// Whether a workload may be allowed less by the binding `now` than by the one `before`, if it had one.
    fn restricts(&mut self, before: Option<&Binding>, now: &Binding) -> bool {
        let Some(before) = before else {
            return true;
        };
        let keeps_own = before.own.iter().all(|address| now.own.contains(address));
        let pair = (before.policy, now.policy);
        let loses_rules = match self.known.get(&pair) {
            Some(known) => *known,
            None => {
                let loses = self.loses(pair);
                self.known.insert(pair, loses);
                loses
            }
        };
        loses_rules || (!keeps_own && self.refuses(now.policy))
    }

    /// Whether the second policy, as it is afterwards, may allow less than the first did before.
    fn loses(&self, (first, second): (PolicyId, PolicyId)) -> bool {
        let (Some(old), Some(new)) = (self.before.policies.get(&first), self.after.policies.get(&second))
        else {
            return true;
        };
        if !self.refuses(second) {
            return false;
        }
        let loses_udp = old.flags & !new.flags & Policy::FLAG_ALLOW_UDP != 0;
        old.mode != new.mode || loses_udp || self.loses_rule(old, new)
    }

    /// Whether the policy refuses what no rule allows.
    fn refuses(&self, policy: PolicyId) -> bool {
        let lets_through = [Mode::Audit, Mode::Observe, Mode::Off].map(|mode| mode as u32);
        let policy = self.after.policies.get(&policy);
        policy.is_none_or(|policy| !lets_through.contains(&policy.mode))
    }

    /// Whether the second policy afterwards lacks a rule that the first had before.
    fn loses_rule(&self, old: &Policy, new: &Policy) -> bool {
        let has = |rule: &Rule| {
            let mut scopes = [new.own, new.shared].into_iter();
            scopes.any(|scope| self.after.rules(scope).contains(rule))
        };
        [old.own, old.shared].into_iter().any(|scope| {
            if new.shared == scope
                && let Some(gone) = self.shared_gone.get(&scope)
            {
                return gone.iter().any(|rule| !has(rule));
            }
            let (before, after) = (self.before.scopes.get(&scope), self.after.scopes.get(&new.own));
            let is_same =
                matches!((before, after), (Some(before), Some(after)) if Arc::ptr_eq(before, after));
            !is_same && self.before.rules(scope).iter().any(|rule| !has(rule))
        })
    }
}
