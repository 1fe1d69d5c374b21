//! The part of the desired policies that fits the kernel's maps.
//!
//! What does not fit is left out, and so refused: the result has fewer rules than desired, never different ones.
//! The maps are filled in this order:
//!
//! 1. workloads by the number of their cgroup, which is the order in which cgroups are created: the newest are
//!    left out;
//! 2. policies by their first workload; a policy that does not fit is left out with its workloads;
//! 3. rules: the shared ones, then each policy's own in the order of policies; within a set those of port 53
//!    first, without which no name resolves, then by transport, port and address.

use std::{collections::BTreeSet, sync::Arc};

use enforcer_common::CgroupId;

use super::{Desired, DesiredPolicy, Shared};
use crate::{
    capacity::{Capacities, CapacityReport, Counts, LeftRule, Table, Usage},
    rule::{Rule, Rules},
};

/// How many of the rules that did not fit one map are reported.
const NAMED: usize = 20;

/// The port of DNS.
const DNS: u16 = 53;

/// The part of `desired` that fits, and how full the maps are with it. If all fits, it keeps the same `Arc`s.
///
/// Two of the returned policies may differ only in their workloads.
pub fn fit(desired: Desired, capacities: &Capacities) -> (Desired, CapacityReport) {
    let needed = counted(&desired);
    let mut report = CapacityReport::default();
    let fitted = if needed.fit(capacities) {
        desired
    } else {
        let mut cut = Cut {
            capacities,
            used: Counts::default(),
            report: &mut report,
        };
        let policies = cut.policies(desired.policies);
        let is_shared = |shares: &Shared| policies.iter().any(|policy| policy.shares == Some(*shares));
        let shared = desired.shared.iter().filter(|(shares, _)| is_shared(shares));
        let shared = shared
            .map(|(shares, rules)| (*shares, cut.rules(rules, None)))
            .collect();
        let policies = policies
            .into_iter()
            .map(|policy| DesiredPolicy {
                own: cut.rules(&policy.own, policy.workloads.first().copied()),
                ..policy
            })
            .collect();
        let own = desired.own;
        Desired {
            shared,
            policies,
            own,
        }
    };
    let used = if needed.fit(capacities) {
        needed
    } else {
        counted(&fitted)
    };
    report.tables = Table::ALL
        .into_iter()
        .map(|table| {
            let usage = Usage {
                capacity: capacities.of(table),
                needed: needed.of(table),
                used: used.of(table),
            };
            (table, usage)
        })
        .collect();
    (fitted, report)
}

fn counted(desired: &Desired) -> Counts {
    let mut counts = Counts::default();
    counts.add(Table::Policies, desired.policies.len());
    for policy in &desired.policies {
        counts.add(Table::Workloads, policy.workloads.len());
    }
    let own = desired.policies.iter().map(|policy| &policy.own);
    counts.add_rules(own.chain(desired.shared.values()));
    counts
}

struct Cut<'a> {
    capacities: &'a Capacities,
    used: Counts,
    report: &'a mut CapacityReport,
}

impl Cut<'_> {
    fn policies(&mut self, policies: Vec<DesiredPolicy>) -> Vec<DesiredPolicy> {
        let mut workloads: BTreeSet<CgroupId> = policies
            .iter()
            .flat_map(|policy| policy.workloads.iter().copied())
            .collect();
        let first_left = workloads
            .iter()
            .nth(self.capacities.of(Table::Workloads))
            .copied();
        if let Some(first_left) = first_left {
            let left = workloads.split_off(&first_left);
            self.report.workloads.insert(Table::Workloads, left);
        }
        let mut kept: Vec<_> = policies
            .into_iter()
            .filter_map(|policy| {
                let workloads: BTreeSet<_> = policy.workloads.intersection(&workloads).copied().collect();
                (!workloads.is_empty()).then_some(DesiredPolicy { workloads, ..policy })
            })
            .collect();
        kept.sort_by_key(|policy| policy.workloads.first().copied());
        let most = self.capacities.of(Table::Policies).min(kept.len());
        let left: BTreeSet<_> = kept
            .split_off(most)
            .into_iter()
            .flat_map(|policy| policy.workloads)
            .collect();
        if !left.is_empty() {
            self.report.workloads.insert(Table::Policies, left);
        }
        kept
    }

    /// As many of `rules` as fit; the same `Arc` if all fit.
    fn rules(&mut self, rules: &Arc<Rules>, of: Option<CgroupId>) -> Arc<Rules> {
        let mut left = BTreeSet::new();
        let (names, others): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.port == DNS);
        for rule in names.into_iter().chain(others) {
            let table = Table::of_rule(rule);
            if self.used.of(table) < self.capacities.of(table) {
                self.used.add(table, 1);
                continue;
            }
            let is_of_table = |left: &&LeftRule| Table::of_rule(&left.rule) == table;
            if self.report.rules.iter().filter(is_of_table).count() < NAMED {
                self.report.rules.push(LeftRule { of, rule: *rule });
            }
            left.insert(*rule);
        }
        if left.is_empty() {
            return Arc::clone(rules);
        }
        Arc::new(rules.difference(&left).copied().collect())
    }
}
