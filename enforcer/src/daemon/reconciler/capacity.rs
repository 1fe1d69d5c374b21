//! Selects the part of the registry that fits the kernel's maps, and reports the rest.
//!
//! The report comes before anything is applied, once for each map, and again if much more is left out. A registry that
//! is too big is not tried again every few seconds.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{CgroupId, HostId};
use enforcer_core::{
    capacity::{Capacities, CapacityReport, Table, Usage},
    model::Host,
    pattern,
    plan::PlanKind,
    policy::{Desired, fit},
    registry::Registry,
    rule::{Rule, To},
};

/// Workloads and rules that one line names.
const NAMED: usize = 3;

/// The capacity of the kernel's maps.
pub(in crate::daemon) struct Capacity {
    capacities: Capacities,
    report: CapacityReport,
    /// By map, the number of entries that was last said to be needed.
    said: BTreeMap<Table, usize>,
    /// The same for changes on their way.
    said_of_changes: BTreeMap<Table, usize>,
}

impl Capacity {
    pub(super) fn new(capacities: Capacities) -> Self {
        Self {
            capacities,
            report: CapacityReport::default(),
            said: BTreeMap::new(),
            said_of_changes: BTreeMap::new(),
        }
    }

    pub(super) fn capacities(&self) -> &Capacities {
        &self.capacities
    }

    /// How full the maps are by the last plan, and what is left out.
    pub(in crate::daemon) fn report(&self) -> &CapacityReport {
        &self.report
    }

    /// Whether workloads are left out: unknown ones must be refused then, whatever is configured for them.
    pub(super) fn leaves_workloads_out(&self) -> bool {
        !self.report.workloads.is_empty()
    }

    /// The part of `desired` that fits. Reports what does not, and when everything fits again.
    pub(super) fn fit(&mut self, desired: Desired, registry: &mut Registry) -> Desired {
        let (fitted, report) = fit(desired, &self.capacities);
        self.report = report;
        for (table, usage) in self.report.tables.clone() {
            match self.said.get(&table) {
                Some(_) if !usage.is_exceeded() => {
                    self.said.remove(&table);
                    tracing::info!("capacities.{table} suffices again: all of {} fit", usage.needed);
                }
                Some(said) if usage.needed <= said + said / 4 => {}
                _ if usage.is_exceeded() => {
                    self.said.insert(table, usage.needed);
                    tracing::error!("{}", self.line(table, usage, registry));
                }
                _ => {}
            }
        }
        fitted
    }

    /// Reports that a change does not fit beside what is in force, if destinations are refused for it.
    pub(super) fn note_kind(&mut self, kind: PlanKind) {
        let PlanKind::RemovalsFirst(needed) = kind else {
            return;
        };
        for table in Table::ALL {
            let (needed, said) = (needed.of(table), self.said_of_changes.entry(table).or_default());
            if needed > self.capacities.of(table) && needed > *said {
                *said = needed;
                tracing::warn!(
                    "capacities.{table} leaves no room for changes: for a moment, what is allowed before and after \
                     one may be refused; raise capacities.{table} to {needed}"
                );
            }
        }
    }

    /// What is left out.
    pub(in crate::daemon) fn problems(&self) -> impl Iterator<Item = String> {
        let tables = self.report.tables.iter();
        let short = tables.filter(|(_, usage)| usage.is_exceeded());
        short.map(|(table, usage)| {
            let (needed, capacity) = (usage.needed, usage.capacity);
            format!("capacities.{table} is too small: {needed} are needed, {capacity} fit; what does not is refused")
        })
    }

    /// Those of `patterns` that rules name which are in the kernel: others would take room that there is only for these.
    pub(super) fn named(&self, patterns: Arc<BTreeSet<Host>>, fitted: &Desired) -> Arc<BTreeSet<Host>> {
        let is_exceeded = |usage: &Usage| usage.is_exceeded();
        let is_cut = self.report.tables.get(&Table::Hosts).is_some_and(is_exceeded);
        if !is_cut && patterns.len() <= self.capacities.of(Table::Hosts) {
            return patterns;
        }
        let own = fitted.policies.iter().map(|policy| &policy.own);
        let rules = own.chain(fitted.shared.values()).flat_map(|rules| rules.iter());
        let ids = rules.filter_map(|rule| match rule.to {
            To::Host(id) => Some(id),
            To::Any | To::Address(_) | To::Network(_) => None,
        });
        let ids: BTreeSet<HostId> = ids.collect();
        let named = patterns.iter().filter(|host| ids.contains(&pattern::id(host)));
        Arc::new(named.cloned().collect())
    }

    /// What to raise so that `workload` is no longer left out; None if it is not.
    pub(in crate::daemon) fn advice_for_workload(&self, workload: CgroupId) -> Option<String> {
        let mut left = self.report.workloads.iter();
        let (table, _) = left.find(|(_, workloads)| workloads.contains(&workload))?;
        Some(self.advice(*table))
    }

    /// What to raise so that no rule is left out; None if none is.
    pub(in crate::daemon) fn advice_for_rules(&self) -> Option<String> {
        let exceeded = self.report.tables.iter().filter(|(table, usage)| {
            usage.is_exceeded()
                && matches!(
                    table,
                    Table::Exact | Table::Prefixes | Table::Ports | Table::Hosts
                )
        });
        let advice: Vec<_> = exceeded.map(|(table, _)| self.advice(*table)).collect();
        (!advice.is_empty()).then(|| advice.join(", "))
    }

    /// What to raise so that all of `rules` are in the kernel for every workload that should have them; None if they are.
    pub(super) fn advice_for(
        &self,
        rules: &BTreeSet<Rule>,
        (desired, fitted): (&Desired, &Desired),
    ) -> Option<String> {
        let mut short = BTreeSet::new();
        for policy in &desired.policies {
            let shared = desired.shared_by(policy);
            let wanted: Vec<_> = rules
                .iter()
                .filter(|rule| policy.own.contains(rule) || shared.contains(rule))
                .collect();
            for cgroup in policy.workloads.iter().filter(|_| !wanted.is_empty()) {
                let mut held = fitted.policies.iter();
                let Some(held) = held.find(|held| held.workloads.contains(cgroup)) else {
                    short.extend(self.advice_for_workload(*cgroup));
                    continue;
                };
                let shared = fitted.shared_by(held);
                let is_missing = |rule: &&&Rule| !held.own.contains(**rule) && !shared.contains(**rule);
                let missing = wanted.iter().filter(is_missing);
                short.extend(missing.map(|rule| self.advice(Table::of_rule(rule))));
            }
        }
        let advice: Vec<_> = short.into_iter().collect();
        (!advice.is_empty()).then(|| {
            format!(
                "it does not fit the kernel's maps, and what is left out is refused: {}",
                advice.join(", ")
            )
        })
    }

    fn advice(&self, table: Table) -> String {
        let needed = self.report.tables.get(&table).map_or(0, |usage| usage.needed);
        format!("raise capacities.{table} to {needed} or more")
    }

    fn line(&self, table: Table, usage: Usage, registry: &mut Registry) -> String {
        let Usage {
            capacity,
            needed,
            used,
        } = usage;
        let name = |cgroup: &CgroupId| {
            registry
                .workload(*cgroup)
                .map_or_else(|| format!("cgroup {}", cgroup.0), ToString::to_string)
        };
        let left: Vec<_> = match self.report.workloads.get(&table) {
            Some(workloads) => workloads.iter().take(NAMED).map(name).collect(),
            None => {
                let left = self.report.rules.iter();
                let left = left
                    .filter(|left| Table::of_rule(&left.rule) == table)
                    .take(NAMED);
                let of = |of: Option<CgroupId>| of.map_or_else(|| "everybody".to_owned(), |it| name(&it));
                let left: Vec<_> = left.map(|left| (left.rule, of(left.of))).collect();
                left.into_iter()
                    .map(|(rule, of)| format!("{}, for {of}", with_hosts(&rule, registry)))
                    .collect()
            }
        };
        let what = match self.report.workloads.get(&table) {
            Some(workloads) => format!("{} workloads are refused everything", workloads.len()),
            None if left.is_empty() => "what is left out belongs to workloads that are left out".to_owned(),
            None => format!(
                "{} rules are left out and what they allow is refused",
                needed - used
            ),
        };
        let names = if left.is_empty() {
            String::new()
        } else {
            format!(
                " ({}{})",
                left.join("; "),
                if needed - used > left.len() { "; ..." } else { "" }
            )
        };
        format!(
            "capacities.{table} is too small: {needed} are needed, {capacity} fit; {what}{names}; {}",
            self.advice(table)
        )
    }
}

/// A rule, with the hosts of its address, or the one that it names.
fn with_hosts(rule: &Rule, registry: &mut Registry) -> String {
    let address = match rule.to {
        To::Address(address) => address,
        To::Host(id) => {
            let host = registry.host(id);
            return host.map_or_else(|| rule.to_string(), |host| format!("{rule} ({host})"));
        }
        To::Any | To::Network(_) => return rule.to_string(),
    };
    let hosts: Vec<_> = registry
        .names_of(address)
        .iter()
        .map(ToString::to_string)
        .collect();
    if hosts.is_empty() {
        rule.to_string()
    } else {
        format!("{rule} ({})", hosts.join(", "))
    }
}
