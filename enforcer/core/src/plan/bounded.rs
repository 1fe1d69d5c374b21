//! Plans whose intermediate states fit the maps.
//!
//! A plan adds before it removes, so that for a moment the maps hold old and new entries. If they have no room
//! for both, entries are removed first:
//!
//! 1. [`PlanKind::Direct`]: the plan as it is.
//! 2. [`PlanKind::TrimmedFirst`]: entries that no workload keeps are removed first. Each removal leaves less than
//!    the old state allows, and no less than what both states allow.
//! 3. [`PlanKind::RemovalsFirst`]: entries that will change are removed before new ones are added. It needs no
//!    free capacity, and is never looser than both states; but for a moment what both allow may be refused, and
//!    workloads that change their policy are unknown.
//!
//! **Architecture Invariant:** where `applied` and `desired` fit, so does what the maps hold after each change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{Address, Binding, CgroupId, Mode, Policy, PolicyId, Scope, Transport};

use super::{Applied, Change, Plan, diff, pairing, settled};
use crate::{
    capacity::{Capacities, Counts, Table},
    model::OwnAddresses,
    policy::{Desired, DesiredPolicy},
    rule::{Rule, Rules, To},
};

/// The kind of plan that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// The maps hold old and new at once.
    Direct,
    /// Entries that no workload keeps are removed first.
    TrimmedFirst,
    /// Entries that change are removed first, which for a moment refuses what is allowed before and after. Holds
    /// how many entries another kind would have needed.
    RemovalsFirst(Counts),
}

/// The plan from `applied` to `desired`, which both fit `capacities`, of the first kind whose steps all fit.
pub fn diff_within(applied: &Applied, desired: &Desired, capacities: &Capacities) -> (Plan, PlanKind) {
    let direct = diff(applied, desired);
    if surely_fits(applied, &direct.changes, capacities) || peak(applied, &direct.changes).fit(capacities) {
        return (direct, PlanKind::Direct);
    }
    let (mut changes, trimmed) = trim(applied, desired);
    let rest = diff(&trimmed, desired);
    let needed = peak(&trimmed, &rest.changes);
    if needed.fit(capacities) {
        changes.extend(rest.changes);
        let plan = Plan {
            changes,
            after: rest.after,
        };
        return (plan, PlanKind::TrimmedFirst);
    }
    (removals_first(applied, desired), PlanKind::RemovalsFirst(needed))
}

/// Whether everything would fit if each change added an entry and all rules were of one kind. Most plans are small
/// compared with the free space, and for them this avoids counting rules by kind.
fn surely_fits(now: &Applied, changes: &[Change], capacities: &Capacities) -> bool {
    let rules: usize = now.scopes.values().map(|rules| rules.len()).sum();
    Table::ALL.iter().all(|table| {
        let held = match table {
            Table::Workloads => now.workloads.len(),
            Table::Policies => now.policies.len(),
            Table::Exact | Table::Prefixes | Table::Ports | Table::Hosts => rules,
        };
        held + changes.len() <= capacities.of(*table)
    })
}

/// The most entries that each map holds at any point of the plan.
fn peak(from: &Applied, changes: &[Change]) -> Counts {
    let mut now = from.counted();
    let mut peak = now;
    let mut policies: BTreeSet<PolicyId> = from.policies.keys().copied().collect();
    let mut workloads: BTreeSet<CgroupId> = from.workloads.keys().copied().collect();
    for change in changes {
        match change {
            Change::AddRule(_, rule) => now.add(Table::of_rule(rule), 1),
            Change::RemoveRule(_, rule) => now.subtract(Table::of_rule(rule)),
            Change::SetPolicy(id, _) => now.add(Table::Policies, usize::from(policies.insert(*id))),
            Change::RemovePolicy(id) => {
                policies.remove(id);
                now.subtract(Table::Policies);
            }
            Change::Bind(workload, _) => now.add(Table::Workloads, usize::from(workloads.insert(*workload))),
            Change::Unbind(workload) => {
                workloads.remove(workload);
                now.subtract(Table::Workloads);
            }
        }
        peak = peak.max(&now);
    }
    peak
}

/// The changes that remove what no remaining workload may keep, and the state after them.
fn trim(applied: &Applied, desired: &Desired) -> (Vec<Change>, Applied) {
    let views: BTreeMap<CgroupId, &DesiredPolicy> = desired
        .policies
        .iter()
        .flat_map(|policy| policy.workloads.iter().map(move |workload| (*workload, policy)))
        .collect();
    let mut changes = Vec::new();
    let mut left = applied.clone();
    left.workloads.retain(|workload, _| {
        let stays = views.contains_key(workload);
        if !stays {
            changes.push(Change::Unbind(*workload));
        }
        stays
    });
    // By scope, the policies after the plan of the workloads that read it now.
    let mut keepers = BTreeMap::<Scope, BTreeMap<*const DesiredPolicy, &DesiredPolicy>>::new();
    let bound: BTreeSet<PolicyId> = left.workloads.values().map(|binding| binding.policy).collect();
    for (workload, binding) in &left.workloads {
        if let Some(policy) = applied.policies.get(&binding.policy) {
            let view = views[workload];
            for scope in [policy.own, policy.shared] {
                keepers.entry(scope).or_default().insert(view, view);
            }
        }
    }
    left.policies.retain(|id, _| {
        let stays = bound.contains(id);
        if !stays {
            changes.push(Change::RemovePolicy(*id));
        }
        stays
    });
    // Only an address that is to become a workload's own may be allowed by a rule before and by none after.
    let is_new = |(workload, own): &(&CgroupId, &OwnAddresses)| {
        let bound = left.workloads.get(workload);
        bound.is_some_and(|bound| bound.own != <[Address; 2]>::from(**own))
    };
    let own: Vec<&OwnAddresses> = desired.own.iter().filter(is_new).map(|(_, own)| own).collect();
    for (scope, rules) in &applied.scopes {
        let keepers = keepers.get(scope);
        let is_kept = |rule: &Rule| {
            let becomes_own = || own.iter().any(|own| may_be(own, &rule.to));
            let may_keep = |view: &&DesiredPolicy| may_keep(view, desired.shared_by(view), rule);
            keepers.is_some_and(|views| views.values().any(may_keep) || becomes_own())
        };
        let gone: Vec<_> = rules.iter().filter(|rule| !is_kept(rule)).copied().collect();
        if gone.is_empty() {
            continue;
        }
        changes.extend(gone.iter().map(|rule| Change::RemoveRule(*scope, *rule)));
        let rules: Rules = rules.iter().filter(|rule| is_kept(rule)).copied().collect();
        if rules.is_empty() {
            left.scopes.remove(scope);
        } else {
            left.scopes.insert(*scope, Arc::new(rules));
        }
    }
    (changes, left)
}

/// Whether some address of `to` may be a workload's own.
fn may_be(own: &OwnAddresses, to: &To) -> bool {
    match to {
        To::Address(address) => own.contains(*address),
        To::Any | To::Network(_) | To::Host(_) => true,
    }
}

/// Whether `policy` may allow something that `rule` allows.
fn may_keep(policy: &DesiredPolicy, shared: &Rules, rule: &Rule) -> bool {
    policy.mode != Mode::Enforce
        || (policy.allows_udp && rule.transport == Transport::Udp)
        || overlaps(&policy.own, rule)
        || overlaps(shared, rule)
}

/// Whether one of `rules` may allow something that `rule` allows; false only if that is certain.
pub(super) fn overlaps(rules: &Rules, rule: &Rule) -> bool {
    let any = Rule { to: To::Any, ..*rule };
    let same_port = rules
        .range(any..)
        .take_while(|other| other.transport == rule.transport && other.port == rule.port);
    match rule.to {
        To::Any | To::Network(_) | To::Host(_) => same_port.count() > 0,
        To::Address(address) => {
            // Only the kernel knows which addresses a workload was given for a host.
            let may_hold = |other: &Rule| match other.to {
                To::Network(network) => network.contains(&address),
                To::Host(_) => true,
                To::Any | To::Address(_) => false,
            };
            rules.contains(rule) || rules.contains(&any) || same_port.into_iter().any(may_hold)
        }
    }
}

/// Removes everything that is to go or to change, then adds everything that is missing.
fn removals_first(applied: &Applied, desired: &Desired) -> Plan {
    let after = settled(desired, &pairing::keep_all(applied, desired));
    let mut changes = Vec::new();
    for scope in applied.scopes.keys() {
        let gone = applied.missing_in(&after, *scope);
        changes.extend(gone.map(|rule| Change::RemoveRule(*scope, *rule)));
    }
    for (workload, binding) in &applied.workloads {
        if after.workloads.get(workload) != Some(binding) {
            changes.push(Change::Unbind(*workload));
        }
    }
    for id in applied
        .policies
        .keys()
        .filter(|id| !after.policies.contains_key(id))
    {
        changes.push(Change::RemovePolicy(*id));
    }
    // A workload whose policy is not installed is refused everything until it is.
    let differs = |(id, policy): &(&PolicyId, &Policy)| applied.policies.get(id) != Some(policy);
    for (id, policy) in after.policies.iter().filter(differs) {
        changes.push(Change::SetPolicy(*id, *policy));
    }
    let bind = |(workload, binding): (&CgroupId, &Binding)| Change::Bind(*workload, *binding);
    let is_moved = |(workload, binding): &(&CgroupId, &Binding)| {
        let bound = applied.workloads.get(workload);
        bound.is_some_and(|bound| bound != *binding)
    };
    changes.extend(after.workloads.iter().filter(is_moved).map(bind));
    for scope in after.scopes.keys() {
        let more = after.missing_in(applied, *scope);
        changes.extend(more.map(|rule| Change::AddRule(*scope, *rule)));
    }
    let is_new = |(workload, _): &(&CgroupId, &Binding)| !applied.workloads.contains_key(workload);
    changes.extend(after.workloads.iter().filter(is_new).map(bind));
    Plan { changes, after }
}

impl Applied {
    /// How many entries the maps hold.
    pub fn counted(&self) -> Counts {
        let mut counts = Counts::default();
        counts.add(Table::Workloads, self.workloads.len());
        counts.add(Table::Policies, self.policies.len());
        counts.add_rules(self.scopes.values());
        counts
    }
}
