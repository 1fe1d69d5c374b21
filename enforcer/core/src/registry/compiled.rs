//! The compiled views of the present workloads, updated incrementally when a host changes.
//!
//! ```text
//! common host      -> each `Common` -------------> Desired::shared
//! any other host   -> each view without trimming -> own = its tally - what it shares
//! every host       -> each trimmed view ---------> own = its tally
//! ```
//!
//! What stands behind a host is added where a view has a proxy, and to the set that such views share; that set is there
//! only while there are such views.
//!
//! **Architecture Invariant:** the content depends only on the objects and the workloads, never on the order in
//! which they arrived. A set of rules that has not changed keeps its `Arc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{CgroupId, HostId};

use super::{
    candidates::Candidates,
    infrastructure::Infrastructure,
    rule_set::RuleSet,
    tally::{Contribution, Flips, Tally},
};
use crate::{
    grant::Facts,
    model::{Host, Mode, Namespace, OwnAddresses},
    objects::Key,
    offer::{HostState, Import},
    pattern,
    policy::{Desired, DesiredPolicy, Shared},
    rule::{Rule, Rules, To},
    view::{View, common},
};

/// The key of a view: the client's namespace, its Sidecar, the mode for what the view does not have, and whether the
/// node's resolvers, and what stands behind ports, are reached.
pub(crate) type ViewKey = (Namespace, Option<Key>, Mode, [bool; 2]);

/// Every view of a present workload, and what they share.
#[derive(Debug)]
pub(crate) struct Compiled {
    everybody: Everybody,
    /// [`Shared::Plain`] is always there.
    common: BTreeMap<Shared, Common>,
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
    patterns_behind: Arc<BTreeSet<Host>>,
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
    /// What those policies allow besides whose workloads have a proxy.
    pub(crate) of_proxies: Vec<Rule>,
    pub(crate) allows_udp: bool,
}

/// What views without a trimming Sidecar share.
#[derive(Debug)]
struct Common {
    tally: Tally,
    rules: RuleSet,
}

impl Common {
    fn new(tally: Tally) -> Self {
        Self {
            rules: RuleSet::new(tally.rules().copied()),
            tally,
        }
    }
}

/// What views are compiled from.
pub(crate) struct HostIndexes<'a> {
    pub(crate) states: &'a BTreeMap<Host, HostState>,
    pub(crate) candidates: &'a Candidates,
    pub(crate) infrastructure: &'a Infrastructure,
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

impl Compiled {
    /// Without views: only the rules that every workload has.
    pub(crate) fn new(everybody: Everybody) -> Self {
        let plain = Common::new(Tally::with(everybody.rules.iter()));
        Self {
            common: BTreeMap::from([(Shared::Plain, plain)]),
            everybody,
            views: BTreeMap::new(),
            unwatched: BTreeSet::new(),
            own: BTreeMap::new(),
            nothing: Arc::default(),
            desired: Arc::default(),
            handed_out: BTreeMap::new(),
            patterns: Arc::default(),
            patterns_behind: Arc::default(),
            names: Arc::default(),
            is_stale: false,
            are_names_stale: false,
        }
    }

    /// Forgets all hosts and views; what was handed out is known, so that equal sets stay the same `Arc`.
    pub(crate) fn begin_again(&mut self, everybody: Everybody) {
        let new = Self::new(everybody);
        self.everybody = new.everybody;
        self.common = new.common;
        self.forget_views();
    }

    pub(crate) fn everybody(&self) -> &Everybody {
        &self.everybody
    }

    /// Applies the current state of some hosts; a host that is gone has an empty state.
    pub(crate) fn set_hosts<'a>(
        &mut self,
        hosts: impl Iterator<Item = (&'a Host, &'a HostState)>,
        indexes: &HostIndexes<'_>,
    ) {
        let mut flips: BTreeMap<Shared, Flips> = self
            .common
            .keys()
            .map(|shared| (*shared, Flips::default()))
            .collect();
        let mut own: Vec<Flips> = self.views.values().map(|_| Flips::default()).collect();
        for (host, state) in hosts {
            for ((shared, common), flips) in self.common.iter_mut().zip(flips.values_mut()) {
                let contribution = shared_contribution(*shared, state, &indexes.facts);
                common.tally.set(host, contribution, flips);
            }
            for (view, flips) in self.views.values_mut().zip(&mut own) {
                let contribution = contribution(&view.view, (host, state), indexes);
                view.tally.set(host, contribution, flips);
            }
        }
        self.settle(&flips, &own);
    }

    /// Updates the sets of rules from the tallies, for the rules that may have changed.
    fn settle(&mut self, shared: &BTreeMap<Shared, Flips>, own: &[Flips]) {
        for (common, flips) in self.common.values_mut().zip(shared.values()) {
            self.are_names_stale |= flips.names;
            for rule in &flips.rules {
                self.is_stale |= common.rules.set(rule, common.tally.contains(rule));
            }
        }
        for (view, flips) in self.views.values_mut().zip(own) {
            self.are_names_stale |= flips.names;
            let common = view.view.shares().map(|shares| &self.common[&shares].tally);
            let of_shared = view.view.shares().map(|shares| &shared[&shares].rules);
            for rule in flips.rules.iter().chain(of_shared.into_iter().flatten()) {
                let is_shared = common.is_some_and(|common| common.contains(rule));
                let is_own = view.tally.contains(rule) && !is_shared;
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
        let mut shared = assigned.values().map(|(view, _)| view.shares());
        let has_proxied = shared.any(|shares| shares == Some(Shared::Proxied));
        self.keep_proxied(has_proxied, indexes);
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

    /// Makes or drops what views with a proxy share.
    fn keep_proxied(&mut self, is_needed: bool, indexes: &HostIndexes<'_>) {
        if is_needed == self.common.contains_key(&Shared::Proxied) {
            return;
        }
        self.is_stale = true;
        self.are_names_stale = true;
        if !is_needed {
            self.common.remove(&Shared::Proxied);
            return;
        }
        let Everybody {
            rules, of_proxies, ..
        } = &self.everybody;
        let mut tally = Tally::with(rules.iter().chain(of_proxies));
        let mut flips = Flips::default();
        for (host, state) in indexes.states {
            let contribution = shared_contribution(Shared::Proxied, state, &indexes.facts);
            tally.set(host, contribution, &mut flips);
        }
        self.common.insert(Shared::Proxied, Common::new(tally));
    }

    /// Sets which workloads are off, and the own addresses of each workload.
    pub(crate) fn set_aside(&mut self, unwatched: BTreeSet<CgroupId>, own: BTreeMap<CgroupId, OwnAddresses>) {
        self.is_stale |= self.unwatched != unwatched || self.own != own;
        self.unwatched = unwatched;
        self.own = own;
    }

    fn compile(&self, view: View, workloads: BTreeSet<CgroupId>, indexes: &HostIndexes<'_>) -> CompiledView {
        let is_trimmed = view.is_trimmed();
        let everybody = &self.everybody;
        let always = everybody.rules.iter().filter(|_| is_trimmed);
        let of_node = everybody.of_node.iter().filter(|_| view.asks_node);
        let of_proxy = everybody
            .of_proxies
            .iter()
            .filter(|_| is_trimmed && view.has_proxy);
        let mut tally = Tally::with(always.chain(of_node).chain(of_proxy));
        let mut flips = Flips::default();
        let mut add = |host: &Host, state: &HostState| {
            tally.set(host, contribution(&view, (host, state), indexes), &mut flips);
        };
        match indexes.candidates.of(&view) {
            None => indexes.states.iter().for_each(|(host, state)| add(host, state)),
            Some(hosts) => hosts
                .into_iter()
                .filter_map(|host| indexes.states.get_key_value(host))
                .for_each(|(host, state)| add(host, state)),
        }
        if view.has_proxy {
            let nothing = HostState::default();
            for host in indexes.infrastructure.hosts() {
                add(host, indexes.states.get(host).unwrap_or(&nothing));
            }
        }
        let common = view.shares().map(|shares| &self.common[&shares].tally);
        let own = tally.rules().copied();
        let own = own.filter(|rule| !common.is_some_and(|common| common.contains(rule)));
        let own = RuleSet::new(own);
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

    /// Those that a rule names which stands for what is behind a port; none without views with a proxy.
    pub(crate) fn patterns_behind(&mut self) -> Arc<BTreeSet<Host>> {
        if !self.views.values().any(|view| view.view.has_proxy) {
            return Arc::default();
        }
        let own = self.views.values().map(|view| &view.own);
        let rules = own.chain(self.common.values().map(|common| &common.rules));
        let named = rules
            .flat_map(|set| set.rules.iter())
            .filter_map(|rule| match rule.to {
                To::Host(id) => Some(id),
                To::Any | To::Address(_) | To::Network(_) => None,
            });
        let named: BTreeSet<HostId> = named.collect();
        let patterns = self.patterns();
        let patterns = patterns.iter().filter(|host| named.contains(&pattern::id(host)));
        let patterns: BTreeSet<Host> = patterns.cloned().collect();
        if *self.patterns_behind != patterns {
            self.patterns_behind = Arc::new(patterns);
        }
        self.patterns_behind.clone()
    }

    fn refresh_names(&mut self) {
        if !std::mem::take(&mut self.are_names_stale) {
            return;
        }
        let shared = self.common.iter().filter(|(shared, _)| self.is_shared(**shared));
        let shared = shared.flat_map(|(_, common)| common.tally.names());
        let own = self.views.values().flat_map(|view| view.tally.names());
        let patterns: BTreeSet<Host> = shared.chain(own).cloned().collect();
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

    fn is_shared(&self, shared: Shared) -> bool {
        let mut views = self.views.values();
        views.any(|view| view.view.shares() == Some(shared))
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
                shares: view.view.shares(),
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
        let shared = self.common.iter().filter(|(shared, _)| self.is_shared(**shared));
        let shared = shared.filter(|(_, common)| !common.rules.rules.is_empty());
        let mut shared: BTreeMap<Shared, Arc<Rules>> = shared
            .map(|(shared, common)| (*shared, common.rules.rules.clone()))
            .collect();
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

/// What a host contributes to what views share.
fn shared_contribution(shared: Shared, state: &HostState, facts: &Facts<'_>) -> Contribution {
    let mut contribution = Contribution::default();
    if state.is_common {
        let behind = (shared == Shared::Proxied).then_some(state);
        add(&mut contribution, &common(state), behind, facts);
    }
    contribution.sort();
    contribution
}

/// What a host contributes to a view in addition to what is shared.
fn contribution(view: &View, (host, state): (&Host, &HostState), indexes: &HostIndexes<'_>) -> Contribution {
    let facts = &indexes.facts;
    let mut contribution = Contribution::default();
    if !state.is_common || view.is_trimmed() {
        let imports = if view.has_proxy {
            view.served(state)
        } else {
            view.imports(state)
        };
        add(
            &mut contribution,
            &imports,
            view.has_proxy.then_some(state),
            facts,
        );
    }
    if view.has_proxy {
        for of_port in indexes.infrastructure.grants(host, state, facts) {
            contribution.add(&of_port);
        }
    }
    contribution.sort();
    contribution
}

/// Adds what ports of a host grant and, if its state is given, what stands behind them.
fn add(to: &mut Contribution, imports: &[Import<'_>], behind: Option<&HostState>, facts: &Facts<'_>) {
    for import in imports {
        to.add(&import.grants(facts));
        if behind.is_some() {
            to.add(&import.behind(facts));
        }
    }
    for (_, pooled) in behind.into_iter().flat_map(|state| state.pooled(imports, facts)) {
        to.add(&pooled);
    }
}
