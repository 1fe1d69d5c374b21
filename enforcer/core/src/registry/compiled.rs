//! The compiled views of the present workloads, updated incrementally when a host changes.
//!
//! ```text
//! common host      -> `shared` ------------------> Desired::shared
//! any other host   -> each view without trimming -> own = its tally - shared
//! every host       -> each trimmed view ---------> own = its tally
//! ```
//!
//! **Architecture Invariant:** the content depends only on the objects and the workloads, never on the order in
//! which they arrived. A set of rules that has not changed keeps its `Arc`.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use enforcer_common::CgroupId;

use super::{
    candidates::Candidates,
    tally::{Contribution, Flips, Tally},
};
use crate::{
    grant::Facts,
    model::{Host, Mode, Namespace, OwnAddresses},
    objects::Key,
    offer::{HostState, Import},
    policy::{Desired, DesiredPolicy, Shared},
    rule::{Rule, Rules},
    view::{View, common},
};

/// The key of a view: the client's namespace, its Sidecar, the mode for what the view does not have, and whether the
/// node's resolvers are reached.
pub(crate) type ViewKey = (Namespace, Option<Key>, Mode, bool);

/// Every view of a present workload, and what they share.
#[derive(Debug)]
pub(crate) struct Compiled {
    everybody: Everybody,
    shared_tally: Tally,
    shared: RuleSet,
    pub(crate) views: BTreeMap<ViewKey, CompiledView>,
    /// Workloads that are off: known, and without a view.
    unwatched: BTreeSet<CgroupId>,
    own: BTreeMap<CgroupId, OwnAddresses>,
    /// The rules of a policy that has none.
    nothing: Arc<Rules>,
    desired: Arc<Desired>,
    /// The sets in `desired`, by their sums.
    handed_out: BTreeMap<u64, Vec<Arc<Rules>>>,
    /// Hosts that rules name, including wildcards, and those of them that can be resolved.
    patterns: Arc<BTreeSet<Host>>,
    names: Arc<BTreeSet<Host>>,
    is_stale: bool,
    are_names_stale: bool,
}

/// What every policy allows, whatever the registry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Everybody {
    pub(crate) rules: Vec<Rule>,
    /// What those policies allow besides whose workloads are given the node's resolvers.
    pub(crate) of_node: Vec<Rule>,
    pub(crate) allows_udp: bool,
}

/// What views are compiled from.
pub(crate) struct HostIndexes<'a> {
    pub(crate) states: &'a BTreeMap<Host, HostState>,
    pub(crate) candidates: &'a Candidates,
    pub(crate) facts: Facts<'a>,
}

/// One view with its rules.
#[derive(Debug)]
pub(crate) struct CompiledView {
    pub(crate) view: View,
    tally: Tally,
    own: RuleSet,
    workloads: BTreeSet<CgroupId>,
}

/// Rules, and a checksum of them that does not depend on their order.
#[derive(Clone, Debug, Default)]
struct RuleSet {
    rules: Arc<Rules>,
    sum: u64,
}

impl RuleSet {
    fn new(rules: impl Iterator<Item = Rule>) -> Self {
        let rules: Rules = rules.collect();
        let sum = rules
            .iter()
            .fold(0, |sum: u64, rule| sum.wrapping_add(hash(rule)));
        Self {
            rules: Arc::new(rules),
            sum,
        }
    }

    /// Copies the rules only if they have to change and the `Arc` is shared.
    fn set(&mut self, rule: &Rule, is_there: bool) -> bool {
        if self.rules.contains(rule) == is_there {
            return false;
        }
        let rules = Arc::make_mut(&mut self.rules);
        if is_there {
            rules.insert(*rule);
            self.sum = self.sum.wrapping_add(hash(rule));
        } else {
            rules.remove(rule);
            self.sum = self.sum.wrapping_sub(hash(rule));
        }
        true
    }
}

fn hash(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    rule.hash(&mut hasher);
    hasher.finish()
}

impl Compiled {
    /// Without views: only the rules that every workload has.
    pub(crate) fn new(everybody: Everybody) -> Self {
        Self {
            shared_tally: Tally::with(everybody.rules.iter()),
            shared: RuleSet::new(everybody.rules.iter().copied()),
            everybody,
            views: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            own: BTreeMap::new(),
            nothing: Arc::default(),
            desired: Arc::default(),
            handed_out: BTreeMap::new(),
            patterns: Arc::default(),
            names: Arc::default(),
            is_stale: false,
            are_names_stale: false,
        }
    }

    pub(crate) fn everybody(&self) -> &Everybody {
        &self.everybody
    }

    /// Applies the current state of some hosts; a host that is gone has an empty state.
    pub(crate) fn set_hosts<'a>(
        &mut self,
        hosts: impl Iterator<Item = (&'a Host, &'a HostState)>,
        facts: &Facts<'_>,
    ) {
        let mut shared = Flips::default();
        let mut own: Vec<Flips> = self.views.values().map(|_| Flips::default()).collect();
        for (host, state) in hosts {
            let common = if state.is_common {
                union(&common(state), facts)
            } else {
                Contribution::default()
            };
            self.shared_tally.set(host, common, &mut shared);
            for (view, flips) in self.views.values_mut().zip(&mut own) {
                let contribution = contribution(&view.view, state, facts);
                view.tally.set(host, contribution, flips);
            }
        }
        self.settle(&shared, &own);
    }

    /// Updates the sets of rules from the tallies, for the rules that may have changed.
    fn settle(&mut self, shared: &Flips, own: &[Flips]) {
        self.are_names_stale |= shared.names;
        for rule in &shared.rules {
            self.is_stale |= self.shared.set(rule, self.shared_tally.contains(rule));
        }
        for (view, flips) in self.views.values_mut().zip(own) {
            self.are_names_stale |= flips.names;
            let is_trimmed = view.view.is_trimmed();
            let of_shared = shared.rules.iter().filter(|_| !is_trimmed);
            for rule in flips.rules.iter().chain(of_shared) {
                let is_own = view.tally.contains(rule) && (is_trimmed || !self.shared_tally.contains(rule));
                self.is_stale |= view.own.set(rule, is_own);
            }
        }
    }

    /// Forgets all views, for when compiling them again is less work than updating them.
    pub(crate) fn forget_views(&mut self) {
        self.views.clear();
        self.is_stale = true;
        self.are_names_stale = true;
    }

    /// Sets which workload has which view; views without workloads are forgotten.
    pub(crate) fn assign(
        &mut self,
        assigned: BTreeMap<ViewKey, (View, BTreeSet<CgroupId>)>,
        indexes: &HostIndexes<'_>,
    ) {
        let mut before = std::mem::take(&mut self.views);
        for (key, (view, workloads)) in assigned {
            let old = before.remove(&key).filter(|old| old.view.sees_as(&view));
            let compiled = match old {
                Some(mut old) => {
                    self.is_stale |= old.workloads != workloads;
                    old.workloads = workloads;
                    old.view = view;
                    old
                }
                None => {
                    self.is_stale = true;
                    self.are_names_stale = true;
                    self.compile(view, workloads, indexes)
                }
            };
            self.views.insert(key, compiled);
        }
        self.is_stale |= !before.is_empty();
        self.are_names_stale |= !before.is_empty();
    }

    /// Sets which workloads are off, and the own addresses of each workload.
    pub(crate) fn set_aside(&mut self, unwatched: BTreeSet<CgroupId>, own: BTreeMap<CgroupId, OwnAddresses>) {
        self.is_stale |= self.unwatched != unwatched || self.own != own;
        self.unwatched = unwatched;
        self.own = own;
    }

    fn compile(&self, view: View, workloads: BTreeSet<CgroupId>, indexes: &HostIndexes<'_>) -> CompiledView {
        let is_trimmed = view.is_trimmed();
        let always = self.everybody.rules.iter().filter(|_| is_trimmed);
        let of_node = self.everybody.of_node.iter().filter(|_| view.asks_node);
        let mut tally = Tally::with(always.chain(of_node));
        let mut flips = Flips::default();
        let mut add = |host: &Host, state: &HostState| {
            tally.set(host, contribution(&view, state, &indexes.facts), &mut flips);
        };
        match indexes.candidates.of(&view) {
            None => indexes.states.iter().for_each(|(host, state)| add(host, state)),
            Some(hosts) => hosts
                .into_iter()
                .filter_map(|host| indexes.states.get_key_value(host))
                .for_each(|(host, state)| add(host, state)),
        }
        let own = tally.rules().copied();
        let own = RuleSet::new(own.filter(|rule| is_trimmed || !self.shared_tally.contains(rule)));
        CompiledView {
            view,
            tally,
            own,
            workloads,
        }
    }

    /// The rules of all views.
    pub(crate) fn desired(&mut self) -> Arc<Desired> {
        if std::mem::take(&mut self.is_stale) {
            let desired = self.collect();
            if *self.desired != desired {
                self.desired = Arc::new(desired);
            }
        }
        self.desired.clone()
    }

    /// The names that the views need; no wildcards.
    pub(crate) fn names(&mut self) -> Arc<BTreeSet<Host>> {
        self.refresh_names();
        self.names.clone()
    }

    /// The hosts whose addresses the views need, including wildcards.
    pub(crate) fn patterns(&mut self) -> Arc<BTreeSet<Host>> {
        self.refresh_names();
        self.patterns.clone()
    }

    fn refresh_names(&mut self) {
        if !std::mem::take(&mut self.are_names_stale) {
            return;
        }
        let shared = self.has_shares().then(|| self.shared_tally.names());
        let own = self.views.values().flat_map(|view| view.tally.names());
        let patterns: BTreeSet<Host> = shared.into_iter().flatten().chain(own).cloned().collect();
        if *self.patterns == patterns {
            return;
        }
        let names = patterns.iter().filter(|host| !host.is_wildcard());
        let names: BTreeSet<Host> = names.cloned().collect();
        if *self.names != names {
            self.names = Arc::new(names);
        }
        self.patterns = Arc::new(patterns);
    }

    fn has_shares(&self) -> bool {
        self.views.values().any(|view| !view.view.is_trimmed())
    }

    /// Puts views with equal rules into one policy. Equal sets become the same `Arc`: the one that was returned
    /// before, if there is one.
    fn collect(&mut self) -> Desired {
        let mut sets = std::mem::take(&mut self.handed_out);
        let mut policies: Vec<DesiredPolicy> = Vec::new();
        for view in self.views.values_mut() {
            let own = &mut view.own;
            let alike = sets.entry(own.sum).or_default();
            match alike.iter().find(|set| **set == own.rules) {
                Some(set) => own.rules = set.clone(),
                None => alike.push(own.rules.clone()),
            }
            let in_use = self.handed_out.entry(own.sum).or_default();
            if !in_use.iter().any(|set| Arc::ptr_eq(set, &own.rules)) {
                in_use.push(own.rules.clone());
            }
            let policy = DesiredPolicy {
                mode: view.view.mode,
                allows_udp: self.everybody.allows_udp,
                shares: (!view.view.is_trimmed()).then_some(Shared::Plain),
                own: own.rules.clone(),
                workloads: view.workloads.clone(),
            };
            let same = policies.iter_mut().find(|it| it.is_alike(&policy));
            match same {
                Some(same) => same.workloads.extend(policy.workloads),
                None => policies.push(policy),
            }
        }
        if !self.unwatched.is_empty() {
            // The only policy with this mode, so that it needs no comparison with others.
            policies.push(DesiredPolicy {
                mode: Mode::Off,
                allows_udp: false,
                shares: None,
                own: Arc::clone(&self.nothing),
                workloads: self.unwatched.clone(),
            });
        }
        policies.sort_by(|a, b| a.workloads.first().cmp(&b.workloads.first()));
        let mut shared = BTreeMap::new();
        if self.has_shares() && !self.shared.rules.is_empty() {
            shared.insert(Shared::Plain, self.shared.rules.clone());
        }
        for (shares, rules) in &mut shared {
            let old = self.desired.shared.get(shares).filter(|old| **old == *rules);
            if let Some(old) = old {
                *rules = old.clone();
            }
        }
        Desired {
            shared,
            policies,
            own: self.own.clone(),
        }
    }
}

/// What a host contributes to a view in addition to what is shared.
fn contribution(view: &View, state: &HostState, facts: &Facts<'_>) -> Contribution {
    if state.is_common && !view.is_trimmed() {
        return Contribution::default();
    }
    union(&view.imports(state), facts)
}

/// The combined contribution of ports.
fn union(imports: &[Import<'_>], facts: &Facts<'_>) -> Contribution {
    let mut contribution = Contribution::default();
    for import in imports {
        let of_port = import.grants(facts);
        contribution
            .rules
            .extend(of_port.grants.iter().map(|grant| grant.rule));
        contribution.names.extend(of_port.names.iter().cloned());
    }
    contribution.rules.sort_unstable();
    contribution.rules.dedup();
    contribution.names.sort_unstable();
    contribution.names.dedup();
    contribution
}
