//! The changes that turn the present entries of the kernel's maps into the desired ones.
//!
//! ```text
//! Applied, Desired -> pairing (which installed policy becomes which) -> phases -> [Change]
//! ```
//!
//! **Architecture Invariant:** the changes are applied one by one, and after each of them two promises hold for
//! every workload: whatever is allowed is allowed by the old or the new policy, and whatever both allow is
//! allowed. `tests/plan.rs` checks every prefix of random plans.
//!
//! The order that guarantees this:
//!
//! 0. rules that an interrupted plan has left to no policy are removed;
//! 1. rules are added to policies' own scopes;
//! 2. policies that stop sharing leave the shared scope, workloads that are gone and shared are unbound, and
//!    workloads whose new policy does not share are bound;
//! 3. rules are added to the shared scope, then removed from it; the other workloads that are gone are unbound;
//! 4. policies that start to share join the shared scope, and modes change;
//! 5. the other workloads that change their policy are bound;
//! 6. rules are removed from own scopes, and policies without workloads are removed;
//! 7. workloads that are new are bound.
//!
//! A workload that keeps its policy but whose own addresses change is bound again in 1, 3 or 5: at a point where
//! every rule that replaces an own address, or is replaced by one, is installed.
//!
//! Where the order alone cannot keep the promises, a policy gets a new identifier: see [`pairing`]. For workloads
//! that go from one shared scope to the other, see [`crossing`]; for maps that cannot hold the old and new entries at
//! once, see [`bounded`].

mod bounded;
mod crossing;
mod pairing;
mod phases;
mod restricted;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{Binding, CgroupId, Mode, Policy, PolicyId, Scope};

pub use bounded::{PlanKind, diff_within};

use crate::{
    policy::{Desired, DesiredPolicy, Shared},
    rule::{Rule, Rules},
};

/// What the kernel's maps hold, read back from them or left by the last plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Which policy each workload is bound to, and its own addresses.
    pub workloads: BTreeMap<CgroupId, Binding>,
    /// The installed policies.
    pub policies: BTreeMap<PolicyId, Policy>,
    /// The rules of each scope; no scope is empty.
    pub scopes: BTreeMap<Scope, Arc<Rules>>,
}

/// One change of one entry of one map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A rule is added.
    AddRule(Scope, Rule),
    /// A rule is removed.
    RemoveRule(Scope, Rule),
    /// A policy is installed or replaced.
    SetPolicy(PolicyId, Policy),
    /// A policy to which no workload is bound is removed.
    RemovePolicy(PolicyId),
    /// A workload is bound to an installed policy, in one step with its own addresses.
    Bind(CgroupId, Binding),
    /// A workload's binding is removed.
    Unbind(CgroupId),
}

/// Changes in their order, and what the maps hold after the last of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be applied in this order; after a failure in the middle, [`diff`] continues from the state reached.
    pub changes: Vec<Change>,
    /// The entries once all changes are applied.
    pub after: Applied,
}

/// The plan from `applied` to `desired`; empty if nothing is to be done.
pub fn diff(applied: &Applied, desired: &Desired) -> Plan {
    if let Some((mut changes, swept)) = sweep(applied) {
        let rest = diff(&swept, desired);
        changes.extend(rest.changes);
        return Plan {
            changes,
            after: rest.after,
        };
    }
    let ids = pairing::pair(applied, desired);
    let after = settled(desired, &ids);
    let crossing = crossing::find(applied, &after);
    if crossing.is_empty() {
        let changes = phases::order(applied, &after);
        return Plan { changes, after };
    }
    let (mut changes, between) = crossing::detach(applied, &after, &crossing);
    let rest = diff(&between, desired);
    changes.extend(rest.changes);
    Plan {
        changes,
        after: rest.after,
    }
}

/// Changes that remove rules which no policy has, and the state after them; None if there are none. An interrupted plan
/// has left them; if they stayed, new policies would get ever higher identifiers.
fn sweep(applied: &Applied) -> Option<(Vec<Change>, Applied)> {
    let used: BTreeSet<Scope> = applied.policies.values().map(|policy| policy.own).collect();
    let is_used = |scope: &Scope| SHARED.contains(scope) || used.contains(scope);
    if applied.scopes.keys().all(is_used) {
        return None;
    }
    let mut swept = applied.clone();
    let mut changes = Vec::new();
    swept.scopes.retain(|scope, rules| {
        if !is_used(scope) {
            changes.extend(rules.iter().map(|rule| Change::RemoveRule(*scope, *rule)));
        }
        is_used(scope)
    });
    Some((changes, swept))
}

/// Changes that exempt one workload, whatever else is in force: they bind it to a policy that is off, and install
/// one if there is none.
pub fn admit(applied: &Applied, workload: CgroupId) -> Vec<Change> {
    let is_off = |policy: &&Policy| policy.mode == Mode::Off as u32;
    let mut policies = applied.policies.iter();
    let off = policies.find(|(_, policy)| is_off(policy)).map(|(id, _)| *id);
    let id = off.unwrap_or_else(|| {
        pairing::unused(applied)
            .next()
            .expect("there are more identifiers than policies")
    });
    let policy = Policy {
        mode: Mode::Off as u32,
        own: own_scope(id),
        shared: Scope::NONE,
        flags: 0,
    };
    let set = off.is_none().then_some(Change::SetPolicy(id, policy));
    set.into_iter()
        .chain([Change::Bind(workload, Binding::new(id))])
        .collect()
}

/// The scope of a policy's own rules.
fn own_scope(id: PolicyId) -> Scope {
    Scope::of_policy(id)
}

/// The scope of rules that policies share.
fn shared_scope(shares: Shared) -> Scope {
    match shares {
        Shared::Plain => Scope::SHARED,
        Shared::Proxied => Scope::PROXIED,
    }
}

/// The scopes that policies share.
const SHARED: [Scope; 2] = [Scope::SHARED, Scope::PROXIED];

/// A policy's value in the kernel's map.
fn value(id: PolicyId, policy: &DesiredPolicy) -> Policy {
    Policy {
        mode: policy.mode as u32,
        own: own_scope(id),
        shared: match policy.shares {
            None => Scope::NONE,
            Some(shares) => shared_scope(shares),
        },
        flags: if policy.allows_udp {
            Policy::FLAG_ALLOW_UDP
        } else {
            0
        },
    }
}

fn settled(desired: &Desired, ids: &[PolicyId]) -> Applied {
    let mut after = Applied::default();
    let mut put = |scope, rules: &Arc<Rules>| {
        if !rules.is_empty() {
            after.scopes.insert(scope, Arc::clone(rules));
        }
    };
    for (shares, rules) in &desired.shared {
        put(shared_scope(*shares), rules);
    }
    for (id, policy) in ids.iter().zip(&desired.policies) {
        put(own_scope(*id), &policy.own);
    }
    for (id, policy) in ids.iter().zip(&desired.policies) {
        after.policies.insert(*id, value(*id, policy));
        let bindings = policy.workloads.iter().map(|workload| {
            let own = desired.own.get(workload).copied().unwrap_or_default();
            let binding = Binding {
                own: own.into(),
                ..Binding::new(*id)
            };
            (*workload, binding)
        });
        after.workloads.extend(bindings);
    }
    after
}

impl Applied {
    /// The rules of a scope.
    pub fn rules(&self, scope: Scope) -> &Rules {
        static NONE: Rules = Rules::new();
        self.scopes.get(&scope).map_or(&NONE, |rules| rules)
    }

    /// Rules of `scope` here that are not in `scope` of `other`.
    fn missing_in<'a>(&'a self, other: &'a Self, scope: Scope) -> impl Iterator<Item = &'a Rule> {
        let (mine, others) = (self.scopes.get(&scope), other.scopes.get(&scope));
        let same = matches!((mine, others), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
        let rules = if same { None } else { mine };
        rules
            .into_iter()
            .flat_map(move |rules| rules.difference(other.rules(scope)))
    }
}
