//! How much the kernel's maps hold, and how much of that is needed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use enforcer_common::{CgroupId, maps as default};

use crate::rule::{Rule, Rules, To};

/// How many entries each map can hold; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Workloads.
    pub workloads: u32,
    /// Policies.
    pub policies: u32,
    /// Rules with one address.
    pub exact: u32,
    /// Rules with a network.
    pub prefixes: u32,
    /// Rules with any address.
    pub ports: u32,
    /// Rules with a host.
    pub hosts: u32,
}

impl Default for Capacities {
    fn default() -> Self {
        Self {
            workloads: default::WORKLOADS_CAPACITY,
            policies: default::POLICIES_CAPACITY,
            exact: default::EXACT_CAPACITY,
            prefixes: default::PREFIXES_CAPACITY,
            ports: default::PORTS_CAPACITY,
            hosts: default::HOSTS_CAPACITY,
        }
    }
}

impl Capacities {
    /// That of one map.
    pub fn of(&self, table: Table) -> usize {
        let entries = match table {
            Table::Workloads => self.workloads,
            Table::Policies => self.policies,
            Table::Exact => self.exact,
            Table::Prefixes => self.prefixes,
            Table::Ports => self.ports,
            Table::Hosts => self.hosts,
        };
        usize::try_from(entries).unwrap_or(usize::MAX)
    }
}

/// A map that can be full. Shown as its key below `capacities` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Workloads.
    Workloads,
    /// Policies.
    Policies,
    /// Rules with one address.
    Exact,
    /// Rules with a network.
    Prefixes,
    /// Rules with any address.
    Ports,
    /// Rules with a host.
    Hosts,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Workloads,
        Self::Policies,
        Self::Exact,
        Self::Prefixes,
        Self::Ports,
        Self::Hosts,
    ];

    /// The map of a rule.
    pub fn of_rule(rule: &Rule) -> Self {
        match rule.to {
            To::Any => Self::Ports,
            To::Address(_) => Self::Exact,
            To::Network(_) => Self::Prefixes,
            To::Host(_) => Self::Hosts,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workloads => "workloads",
            Self::Policies => "policies",
            Self::Exact => "exact",
            Self::Prefixes => "prefixes",
            Self::Ports => "ports",
            Self::Hosts => "hosts",
        })
    }
}

/// A number of entries for each map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([usize; Table::ALL.len()]);

impl Counts {
    /// That of one map.
    pub fn of(&self, table: Table) -> usize {
        self.0[table as usize]
    }

    /// Whether no map would hold more than it can.
    pub fn fit(&self, capacities: &Capacities) -> bool {
        Table::ALL
            .iter()
            .all(|table| self.of(*table) <= capacities.of(*table))
    }

    pub(crate) fn add(&mut self, table: Table, entries: usize) {
        self.0[table as usize] += entries;
    }

    pub(crate) fn subtract(&mut self, table: Table) {
        self.0[table as usize] -= 1;
    }

    /// Counts sets of rules, each `Arc` as often as it occurs.
    pub(crate) fn add_rules<'a>(&mut self, sets: impl Iterator<Item = &'a Arc<Rules>>) {
        for rule in sets.flat_map(|rules| rules.iter()) {
            self.add(Table::of_rule(rule), 1);
        }
    }

    /// The greater of the two for each map.
    pub(crate) fn max(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].max(other.0[index])))
    }
}

/// How full one map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Entries that fit.
    pub capacity: usize,
    /// Entries that the registry results in.
    pub needed: usize,
    /// Entries of these that are in the kernel.
    pub used: usize,
}

impl Usage {
    /// Whether something is left out of this map.
    pub fn is_exceeded(&self) -> bool {
        self.used < self.needed
    }
}

/// A rule that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftRule {
    /// The first workload of the policy with this own rule; None if it is a shared rule.
    pub of: Option<CgroupId>,
    /// The rule.
    pub rule: Rule,
}

/// How full the maps are, and what did not fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapacityReport {
    /// Every map.
    pub tables: BTreeMap<Table, Usage>,
    /// Workloads that are left out, by the map that is too small for them: they are refused everything.
    pub workloads: BTreeMap<Table, BTreeSet<CgroupId>>,
    /// Rules of workloads that are not left out, in the order in which they would be added next; the first few for
    /// each map. [`Usage`] has their number.
    pub rules: Vec<LeftRule>,
}

impl CapacityReport {
    /// Whether something is left out.
    pub fn is_exceeded(&self) -> bool {
        self.tables.values().any(Usage::is_exceeded)
    }
}
