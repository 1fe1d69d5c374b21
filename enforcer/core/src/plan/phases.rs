//! The changes in their order; the phases are numbered in [`super`].

use std::collections::BTreeSet;

use enforcer_common::{Binding, CgroupId, Policy, PolicyId, Scope};

use super::{Applied, Change, SHARED};
use crate::rule::Rule;

pub(super) fn order(applied: &Applied, after: &Applied) -> Vec<Change> {
    let mut phases = Phases {
        applied,
        after,
        changes: Vec::new(),
    };
    let bridges = phases.bridges();
    phases.add_own(&bridges);
    phases.readdress(|_, after| after.shared == Scope::NONE);
    phases.leave_shared();
    phases.bind_first();
    phases.change_shared();
    phases.unbind_last();
    phases.set_policies();
    phases.bind_moved();
    phases.readdress(|before, after| before.shared == Scope::NONE && after.shared != Scope::NONE);
    phases.remove_own(&bridges);
    phases.bind_new();
    phases.changes
}

struct Phases<'a> {
    applied: &'a Applied,
    after: &'a Applied,
    changes: Vec<Change>,
}

impl Phases<'_> {
    /// Rules that are about to leave the shared scope, for the own scope of each policy from which a workload
    /// moves to another that shares: the workload is bound only after they have left, and may have to keep them.
    fn bridges(&self) -> BTreeSet<(Scope, Rule)> {
        SHARED
            .into_iter()
            .flat_map(|shared| self.bridges_from(shared))
            .collect()
    }

    fn bridges_from(&self, shared: Scope) -> BTreeSet<(Scope, Rule)> {
        let gone: Vec<_> = self.applied.missing_in(self.after, shared).copied().collect();
        if gone.is_empty() {
            return BTreeSet::new();
        }
        let shares = |policy: &&Policy| policy.shared == shared;
        let scopes: BTreeSet<_> = self
            .moved()
            .filter(|(_, _, to)| {
                self.after
                    .policies
                    .get(&to.policy)
                    .is_some_and(|policy| shares(&policy))
            })
            .filter_map(|(_, from, _)| self.applied.policies.get(&from.policy).filter(shares))
            .map(|policy| policy.own)
            .collect();
        scopes
            .into_iter()
            .flat_map(|scope| gone.iter().map(move |rule| (scope, *rule)))
            .collect()
    }

    /// Workloads that stay with a policy and whose own addresses change: workload, before, after.
    fn readdressed(&self) -> impl Iterator<Item = (CgroupId, Binding, Binding)> {
        self.rebound().filter(|(_, from, to)| from.policy == to.policy)
    }

    /// Workloads that are bound to one policy before and to another after: workload, before, after.
    fn moved(&self) -> impl Iterator<Item = (CgroupId, Binding, Binding)> {
        self.rebound().filter(|(_, from, to)| from.policy != to.policy)
    }

    fn rebound(&self) -> impl Iterator<Item = (CgroupId, Binding, Binding)> {
        let both = self.after.workloads.iter().filter_map(|(workload, to)| {
            let from = self.applied.workloads.get(workload)?;
            Some((*workload, *from, *to))
        });
        both.filter(|(_, from, to)| from != to)
    }

    /// Phases 1, 3 and 5. An address that is no longer a workload's own may be allowed by a rule from now on, and
    /// the other way round: the binding changes while the rules of both states are installed.
    fn readdress(&mut self, now: impl Fn(&Policy, &Policy) -> bool) {
        let policies = |id: &PolicyId| Some((self.applied.policies.get(id)?, self.after.policies.get(id)?));
        let binds: Vec<_> = self
            .readdressed()
            .filter(|(_, _, to)| policies(&to.policy).is_some_and(|(before, after)| now(before, after)))
            .map(|(workload, _, to)| Change::Bind(workload, to))
            .collect();
        self.changes.extend(binds);
    }

    /// Phase 1. This includes rules that a policy loses with the shared scope and keeps as its own.
    fn add_own(&mut self, bridges: &BTreeSet<(Scope, Rule)>) {
        for scope in self.after.scopes.keys().filter(|scope| !SHARED.contains(scope)) {
            let rules = self.after.missing_in(self.applied, *scope);
            self.changes
                .extend(rules.map(|rule| Change::AddRule(*scope, *rule)));
        }
        for (scope, rule) in bridges {
            if !self.applied.rules(*scope).contains(rule) && !self.after.rules(*scope).contains(rule) {
                self.changes.push(Change::AddRule(*scope, *rule));
            }
        }
        // A policy that no workload is bound to has no effect, so it can be complete from the start.
        for (id, policy) in &self.after.policies {
            if !self.applied.policies.contains_key(id) {
                let early = Policy {
                    shared: Scope::NONE,
                    ..*policy
                };
                self.changes.push(Change::SetPolicy(*id, early));
            }
        }
    }

    /// Phase 2.
    fn leave_shared(&mut self) {
        for (id, old) in &self.applied.policies {
            if let Some(new) = self.after.policies.get(id)
                && old.shared != Scope::NONE
                && new.shared == Scope::NONE
            {
                self.changes.push(Change::SetPolicy(
                    *id,
                    Policy {
                        shared: Scope::NONE,
                        ..*old
                    },
                ));
            }
        }
    }

    /// Phase 2. Workloads that share nothing afterwards must not see what the shared scope gains.
    fn bind_first(&mut self) {
        self.unbind(|policy| policy.is_none_or(|policy| policy.shared != Scope::NONE));
        self.bind(|policy| policy.shared == Scope::NONE);
    }

    /// Phase 3. Workloads that do not see the shared scope: no added rule has to wait until they are unbound.
    fn unbind_last(&mut self) {
        self.unbind(|policy| policy.is_some_and(|policy| policy.shared == Scope::NONE));
    }

    /// Unbinds workloads that are gone, if `is_due` is true of their policy.
    fn unbind(&mut self, is_due: impl Fn(Option<&Policy>) -> bool) {
        for (workload, binding) in &self.applied.workloads {
            let policy = self.applied.policies.get(&binding.policy);
            if !self.after.workloads.contains_key(workload) && is_due(policy) {
                self.changes.push(Change::Unbind(*workload));
            }
        }
    }

    /// Phase 3.
    fn change_shared(&mut self) {
        let (applied, after) = (self.applied, self.after);
        for scope in SHARED {
            let more = after.missing_in(applied, scope);
            self.changes
                .extend(more.map(|rule| Change::AddRule(scope, *rule)));
        }
        self.readdress(|before, after| before.shared != Scope::NONE && after.shared != Scope::NONE);
        for scope in SHARED {
            let less = applied.missing_in(after, scope);
            self.changes
                .extend(less.map(|rule| Change::RemoveRule(scope, *rule)));
        }
    }

    /// Phase 4.
    fn set_policies(&mut self) {
        for (id, new) in &self.after.policies {
            let now = match self.applied.policies.get(id) {
                None => Policy {
                    shared: Scope::NONE,
                    ..*new
                },
                Some(old) if new.shared == Scope::NONE => Policy {
                    shared: Scope::NONE,
                    ..*old
                },
                Some(old) => *old,
            };
            if now != *new {
                self.changes.push(Change::SetPolicy(*id, *new));
            }
        }
    }

    /// Phase 5.
    fn bind_moved(&mut self) {
        self.bind(|policy| policy.shared != Scope::NONE);
    }

    fn bind(&mut self, now: impl Fn(&Policy) -> bool) {
        let binds: Vec<_> = self
            .moved()
            .filter(|(_, _, to)| now(&self.after.policies[&to.policy]))
            .map(|(workload, _, to)| Change::Bind(workload, to))
            .collect();
        self.changes.extend(binds);
    }

    /// Phase 6.
    fn remove_own(&mut self, bridges: &BTreeSet<(Scope, Rule)>) {
        for id in self.applied.policies.keys() {
            if !self.after.policies.contains_key(id) {
                self.changes.push(Change::RemovePolicy(*id));
            }
        }
        for scope in self.applied.scopes.keys().filter(|scope| !SHARED.contains(scope)) {
            let rules = self.applied.missing_in(self.after, *scope);
            self.changes
                .extend(rules.map(|rule| Change::RemoveRule(*scope, *rule)));
        }
        for (scope, rule) in bridges {
            if !self.applied.rules(*scope).contains(rule) && !self.after.rules(*scope).contains(rule) {
                self.changes.push(Change::RemoveRule(*scope, *rule));
            }
        }
    }

    /// Phase 7. Until now they were unknown, and no rule that they see is still to be removed.
    fn bind_new(&mut self) {
        for (workload, binding) in &self.after.workloads {
            if !self.applied.workloads.contains_key(workload) {
                self.changes.push(Change::Bind(*workload, *binding));
            }
        }
    }
}
