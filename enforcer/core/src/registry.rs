//! The current objects, resolved names and workloads, and the policies computed from them.
//!
//! ```text
//! Update -> objects -> offers (one host of one object) -> HostState -> compiled -> Desired
//!              \-> owners (host -> objects)                 \-> address index -> explain
//! ```
//!
//! One task owns it. An update only marks the hosts that it affects; they are recomputed when a result is
//! requested, so that ten thousand updates cost one compilation.
//!
//! **Architecture Invariant:** every result depends only on the objects, the resolved addresses and the
//! workloads that exist, not on the order in which they arrived.

mod address_index;
mod awaited;
mod candidates;
mod cause;
mod changes;
mod colliding;
mod compiled;
mod conflict;
mod conflicting;
mod exported;
mod hidden;
mod ineffective;
mod infrastructure;
mod overruled;
#[cfg(test)]
mod properties;
mod protected;
mod rerouted;
mod rule_set;
mod suspicious;
mod tally;
#[cfg(test)]
mod tests;
mod views;
mod warning;
mod warnings;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use enforcer_common::{CgroupId, HostId};
use ipnet::IpNet;

pub(crate) use address_index::AddressIndex;
pub use cause::Cause;
pub use conflict::Conflict;
pub use warning::Warning;

use self::{
    candidates::Candidates,
    changes::Stale,
    compiled::{Compiled, Everybody, HostIndexes, ViewKey},
    infrastructure::Infrastructure,
    protected::Protected,
};
use crate::{
    grant::{Facts, Source},
    istio::{Kind, MeshConfig, Object, ObjectId, ServiceEntry},
    model::{Enforcement, Host, OwnAddresses, Workload},
    objects::{Key, Objects},
    offer::{HostState, Owners},
    pattern,
    policy::Desired,
    rule::To,
    settings::{Allowance, Matching, Settings, UdpPolicy},
    view::View,
};

/// One change of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// An object was added or changed.
    Apply(Object),
    /// An object was deleted.
    Delete(ObjectId),
    /// The current addresses of a host, including those in their grace period; replaces the previous ones.
    Resolved {
        /// The name, not a wildcard.
        host: Host,
        /// Never IPv4-mapped ones.
        addresses: BTreeSet<IpAddr>,
    },
    /// A workload's cgroup exists, or now belongs to another workload.
    Workload(CgroupId, Workload),
    /// A workload's cgroup is gone.
    WorkloadGone(CgroupId),
}

/// Every object, resolved name and workload that exists, and what is computed from them.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    objects: Objects,
    owners: Owners,
    workloads: BTreeMap<CgroupId, Workload>,
    states: BTreeMap<Host, HostState>,
    by_address: AddressIndex,
    candidates: Candidates,
    protected: Protected,
    infrastructure: Infrastructure,
    /// By name: the other hosts that depend on its addresses.
    users: BTreeMap<Host, BTreeSet<Host>>,
    compiled: Compiled,
    stale: Stale,
}

/// Read access to the state of every host.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) states: &'a BTreeMap<Host, HostState>,
    pub(crate) by_address: &'a AddressIndex,
    pub(crate) infrastructure: &'a Infrastructure,
    pub(crate) facts: Facts<'a>,
}

impl Registry {
    /// An empty registry: it compiles to the rules that every workload has.
    pub fn new(settings: Settings) -> Self {
        let infrastructure = Infrastructure::new(&MeshConfig::default(), &settings);
        Self {
            compiled: Compiled::new(everybody(&settings, &Objects::default(), &infrastructure)),
            protected: Protected::new(&settings),
            infrastructure,
            settings,
            objects: Objects::default(),
            owners: Owners::default(),
            workloads: BTreeMap::new(),
            states: BTreeMap::new(),
            by_address: AddressIndex::default(),
            candidates: Candidates::default(),
            users: BTreeMap::new(),
            stale: Stale::default(),
        }
    }

    /// Replaces [`Settings::resolvers`].
    pub fn set_resolvers(&mut self, resolvers: BTreeSet<IpAddr>) {
        if self.settings.resolvers != resolvers {
            self.settings.resolvers = resolvers;
            self.everybody_changed();
        }
    }

    /// Replaces [`Settings::trusted`].
    pub fn set_trusted(&mut self, trusted: BTreeSet<SocketAddr>) {
        if self.settings.trusted != trusted {
            self.settings.trusted = trusted;
            self.everybody_changed();
        }
    }

    /// Replaces [`Settings::of_node`].
    pub fn set_of_node(&mut self, servers: BTreeSet<SocketAddr>) {
        if self.settings.of_node != servers {
            self.settings.of_node = servers;
            self.everybody_changed();
        }
    }

    /// The cluster's own networks: the pod networks of its nodes, and each address of a node and of a Service as a
    /// network of its own. Returns the same `Arc` as long as nothing changes.
    pub fn cluster_networks(&mut self) -> Arc<BTreeSet<IpNet>> {
        self.refresh();
        self.protected.cluster()
    }

    /// Whether no workload learns that a name stands for `address`, not IPv4-mapped.
    pub(crate) fn is_protected(&mut self, address: IpAddr) -> bool {
        self.refresh();
        self.protected.keep_out(address, &self.settings)
    }

    /// The addresses and ports at which a service of the cluster answers now: its own, and those of its endpoints.
    pub fn servers_of(&self, allowance: &Allowance) -> BTreeSet<SocketAddr> {
        allowance.servers(&self.objects)
    }

    /// Recompiles everything if the rules that every workload has are no longer the same.
    fn everybody_changed(&mut self) {
        let now = everybody(&self.settings, &self.objects, &self.infrastructure);
        if *self.compiled.everybody() != now {
            self.compiled.begin_again(now);
            self.stale.everything = true;
        }
    }

    /// What the registry was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The policies of all workloads that exist. Returns the same `Arc` as long as nothing changes.
    pub fn desired(&mut self) -> Arc<Desired> {
        self.refresh();
        self.compiled.desired()
    }

    /// The names that must be resolved for the policies of existing workloads; no wildcards. The rules of the
    /// matching `istio` need none: it returns those that the matching `declared` would need, so that messages
    /// can name the host of an address.
    pub fn hosts(&mut self) -> Arc<BTreeSet<Host>> {
        self.refresh();
        self.compiled.names()
    }

    /// Every host that a rule of any policy names: none if learning is off; under the matching `istio` only those behind
    /// ports, which a proxy resolves.
    pub fn patterns(&mut self) -> Arc<BTreeSet<Host>> {
        self.refresh();
        match self.settings.matching {
            Matching::Declared if self.settings.learns => self.compiled.patterns(),
            Matching::Istio if self.settings.learns => self.compiled.patterns_behind(),
            Matching::Declared | Matching::Istio => Arc::default(),
        }
    }

    /// The host that rules name by `id`.
    pub fn host(&mut self, id: HostId) -> Option<Host> {
        self.refresh();
        // With the protocol of a Sidecar's listener, an entry can grant more than with its own.
        let among = |patterns: &BTreeSet<Host>| patterns.iter().find(|host| pattern::id(host) == id).cloned();
        self.granted(id).or_else(|| among(&self.patterns()))
    }

    fn granted(&self, id: HostId) -> Option<Host> {
        let hosts = self.by_address.naming(id);
        let states = hosts.filter_map(|host| self.states.get(host));
        let offers = states.flat_map(|state| &state.offers);
        let grants = offers
            .flat_map(|offer| &offer.grants)
            .flat_map(|port| &port.grants);
        let mut named = grants.filter_map(|grant| match &grant.source {
            Source::Given(host) if grant.rule.to == To::Host(id) => Some(host),
            _ => None,
        });
        named.next().cloned()
    }

    /// The registered hosts that declare `address` or resolve to it, in order.
    pub fn names_of(&mut self, address: IpAddr) -> BTreeSet<Host> {
        self.refresh();
        self.by_address.hosts(address.to_canonical()).cloned().collect()
    }

    /// The addresses and networks that objects declare for their hosts, without addresses that names resolve to.
    pub fn declared(&mut self) -> BTreeSet<(Host, IpNet)> {
        self.refresh();
        let states = self.states.iter();
        let declared =
            states.flat_map(|(host, state)| networks(state).map(|network| (host.clone(), network)));
        declared.collect()
    }

    /// Those that they declare for hosts that cover `name`.
    pub fn declared_for(&mut self, name: &Host) -> BTreeSet<IpNet> {
        self.refresh();
        let covering = name.covering();
        let states = covering.iter().filter_map(|host| self.states.get(host));
        states.flat_map(networks).collect()
    }

    /// The known addresses of `host`: those it declares and those it resolves to, without networks.
    pub fn addresses_of(&mut self, host: &Host) -> BTreeSet<IpAddr> {
        self.refresh();
        let declared = self
            .states
            .get(host)
            .into_iter()
            .flat_map(|state| &state.related.to);
        let declared = declared.filter_map(|to| match to {
            To::Address(address) => Some(*address),
            To::Any | To::Network(_) | To::Host(_) => None,
        });
        let mut addresses: BTreeSet<IpAddr> = declared.collect();
        addresses.extend(self.objects.addresses_of(host));
        addresses
    }

    /// Those among them to which it resolves.
    pub fn resolved_of(&self, host: &Host) -> BTreeSet<IpAddr> {
        self.objects.addresses_of(host)
    }

    /// The workload of a cgroup.
    pub fn workload(&self, cgroup: CgroupId) -> Option<&Workload> {
        self.workloads.get(&cgroup)
    }

    /// How many objects there are of each kind.
    pub fn object_counts(&self) -> [(&'static str, usize); 10] {
        self.objects.counts()
    }

    /// Every workload, by its cgroup.
    pub fn workloads(&self) -> impl Iterator<Item = (CgroupId, &Workload)> {
        self.workloads
            .iter()
            .map(|(cgroup, workload)| (*cgroup, workload))
    }

    /// Every object that counts, kind by kind; those of which there are most, pods and slices, come last.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        self.objects.all()
    }

    /// A ServiceEntry.
    pub(crate) fn service_entry(&self, id: &ObjectId) -> Option<Arc<ServiceEntry>> {
        let key = Key::new(&id.namespace, &id.name);
        let found = self.objects.entries.get(&key);
        found.filter(|_| id.kind == Kind::ServiceEntry).cloned()
    }

    /// What explanations are made from.
    pub(crate) fn lookup(&mut self) -> Lookup<'_> {
        self.refresh();
        Lookup {
            states: &self.states,
            by_address: &self.by_address,
            infrastructure: &self.infrastructure,
            facts: Facts {
                objects: &self.objects,
                settings: &self.settings,
            },
        }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            objects: &self.objects,
            settings: &self.settings,
        }
    }

    /// Recomputes what updates have marked.
    pub(crate) fn refresh(&mut self) {
        if std::mem::take(&mut self.stale.cluster) && self.protected.look(&self.objects) {
            self.filter_again();
        }
        let stale = std::mem::take(&mut self.stale);
        let mut hosts = stale.hosts;
        if stale.everything {
            hosts.extend(self.owners.hosts().cloned());
            hosts.extend(self.states.keys().cloned());
            self.compiled.forget_views();
        }
        for host in &hosts {
            self.work_out(host);
        }
        let facts = Facts {
            objects: &self.objects,
            settings: &self.settings,
        };
        if !hosts.is_empty() {
            let states = hosts.iter().filter_map(|host| self.states.get_key_value(host));
            let indexes = HostIndexes {
                states: &self.states,
                candidates: &self.candidates,
                infrastructure: &self.infrastructure,
                facts,
            };
            self.compiled.set_hosts(states, &indexes);
            for host in &hosts {
                if self.owners.of(host).is_empty() {
                    self.states.remove(host);
                }
            }
        }
        if stale.everything || stale.assignments {
            let mut assigned: BTreeMap<ViewKey, (View, BTreeSet<CgroupId>)> = BTreeMap::new();
            let mut unwatched = BTreeSet::new();
            for (cgroup, workload) in &self.workloads {
                if workload.enforcement == Some(Enforcement::Off) {
                    unwatched.insert(*cgroup);
                    continue;
                }
                let view = View::new(workload, &self.objects, &self.settings);
                let sidecar = view.sidecar.as_ref();
                let sidecar = sidecar.map(|it| Key::new(&it.meta.namespace, &it.meta.name));
                let traits = [view.asks_node, view.has_proxy];
                let key = (workload.namespace.clone(), sidecar, view.mode, traits);
                let entry = assigned.entry(key);
                entry.or_insert_with(|| (view, BTreeSet::new())).1.insert(*cgroup);
            }
            let indexes = HostIndexes {
                states: &self.states,
                candidates: &self.candidates,
                infrastructure: &self.infrastructure,
                facts,
            };
            self.compiled.assign(assigned, &indexes);
            let own = self
                .workloads
                .iter()
                .map(|(cgroup, workload)| (*cgroup, workload.own));
            let own = own.filter(|(_, own)| *own != OwnAddresses::default());
            self.compiled.set_aside(unwatched, own.collect());
        }
    }

    /// Recomputes the state of one host, and updates the indexes.
    fn work_out(&mut self, host: &Host) {
        let owners = self.owners.of(host);
        let facts = Facts {
            objects: &self.objects,
            settings: &self.settings,
        };
        let state = HostState::new(host, owners, &facts);
        let old = self.states.remove(host).unwrap_or_default();
        for name in &old.related.names {
            if let Some(users) = self.users.get_mut(name) {
                users.remove(host);
                if users.is_empty() {
                    self.users.remove(name);
                }
            }
        }
        for name in &state.related.names {
            self.users.entry(name.clone()).or_default().insert(host.clone());
        }
        self.by_address.replace(host, &old, &state);
        self.candidates.replace(host, &old, &state);
        self.states.insert(host.clone(), state);
    }
}

/// The addresses and networks that the objects of a host declare.
fn networks(state: &HostState) -> impl Iterator<Item = IpNet> {
    let of_ports = state.offers.iter().flat_map(|offer| &offer.grants);
    let grants = of_ports.flat_map(|port| &port.grants);
    grants.filter_map(|grant| match (&grant.source, grant.rule.to) {
        (Source::Resolved(_) | Source::Given(_) | Source::AnyAddress, _) | (_, To::Any | To::Host(_)) => None,
        (_, To::Address(address)) => Some(IpNet::from(address)),
        (_, To::Network(network)) => Some(network),
    })
}

/// What every workload is allowed.
fn everybody(settings: &Settings, objects: &Objects, infrastructure: &Infrastructure) -> Everybody {
    Everybody {
        rules: settings.rules(objects),
        of_node: settings.node_rules(),
        of_proxies: infrastructure.rules().to_vec(),
        allows_udp: settings.udp == UdpPolicy::Allow,
    }
}
