//! The settings for interpreting the registry, already read and checked.

mod allowance;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;

pub use allowance::Allowance;

use crate::{
    istio::OutboundMode,
    model::{Destination, Transport},
    objects::Objects,
    rule::{Rule, To},
};

/// How the registry is turned into rules. `Default` is what an empty configuration means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The mode if no MeshConfig and no Sidecar sets one.
    pub mode: OutboundMode,
    /// Whether REGISTRY_ONLY only audits, unless a workload sets its own mode: what it would refuse is let through
    /// and reported.
    pub audit: bool,
    /// How destinations are compared with entries.
    pub matching: Matching,
    /// What UDP may do; Istio never captures it.
    pub udp: UdpPolicy,
    /// Resolvers that every workload reaches on port 53, over UDP and TCP; empty if that is turned off.
    pub resolvers: BTreeSet<IpAddr>,
    /// Servers whose answers are learned from, and which every workload reaches, over UDP and TCP.
    pub trusted: BTreeSet<SocketAddr>,
    /// The resolvers of the node, which workloads reach that are given these.
    pub of_node: BTreeSet<SocketAddr>,
    /// Whether rules name hosts, for which the kernel learns addresses.
    pub learns: bool,
    /// What else every workload reaches.
    pub allowances: Vec<Allowance>,
    /// The revision whose objects count (`istio.io/rev`); empty takes the objects of every revision.
    pub revision: String,
    /// The suffix of the host names of Services.
    pub cluster_domain: String,
    /// Networks of addresses that no name may stand for: they count only if an object declares them.
    pub protected: BTreeSet<IpNet>,
    /// Whether the cluster's own addresses are among them, but for names of the cluster's own domain.
    pub protects_cluster: bool,
}

/// How a destination is compared with an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Only addresses that are declared, or to which a declared name resolves.
    #[default]
    Declared,
    /// Whatever Envoy could accept before it has seen the first byte: often any address on the port.
    Istio,
}

/// What UDP may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UdpPolicy {
    /// The UDP ports of the registry are allowed, as TCP ports without a known protocol are.
    #[default]
    Registry,
    /// All of it is allowed, as with a sidecar.
    Allow,
    /// Only the trusted resolvers are reached.
    DnsOnly,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: OutboundMode::RegistryOnly,
            audit: false,
            matching: Matching::default(),
            udp: UdpPolicy::default(),
            resolvers: BTreeSet::new(),
            trusted: BTreeSet::new(),
            of_node: BTreeSet::new(),
            learns: true,
            allowances: Vec::new(),
            revision: String::new(),
            cluster_domain: "cluster.local".to_owned(),
            protected: BTreeSet::new(),
            protects_cluster: false,
        }
    }
}

impl Settings {
    /// The rules that every workload has, whatever its view.
    pub(crate) fn rules(&self, objects: &Objects) -> Vec<Rule> {
        let mut rules = BTreeSet::new();
        let resolvers = self.resolvers.iter().map(|address| (*address, 53));
        let trusted = self.trusted.iter().map(|server| (server.ip(), server.port()));
        rules.extend(resolvers.chain(trusted).flat_map(to_server));
        let built_in = self.allowances.iter();
        rules.extend(built_in.flat_map(|allowance| allowance.rules(objects)));
        rules.into_iter().collect()
    }

    /// The rules of workloads that are given the resolvers of the node.
    pub(crate) fn node_rules(&self) -> Vec<Rule> {
        let servers = self.of_node.iter();
        let rules = servers.flat_map(|server| to_server((server.ip(), server.port())));
        rules.collect()
    }

    /// Whether the node's resolver is at `address`, not IPv4-mapped, on `port`.
    pub(crate) fn is_of_node(&self, address: IpAddr, port: u16) -> bool {
        let mut servers = self.of_node.iter();
        servers.any(|it| it.ip().to_canonical() == address && it.port() == port)
    }

    /// Whether every workload may query the resolver at `address`, not IPv4-mapped, on `port`.
    pub(crate) fn is_resolver(&self, address: IpAddr, port: u16) -> bool {
        let is_trusted = |it: &SocketAddr| it.ip().to_canonical() == address && it.port() == port;
        let is_resolver = |it: &IpAddr| it.to_canonical() == address && port == 53;
        self.resolvers.iter().any(is_resolver) || self.trusted.iter().any(is_trusted)
    }

    /// The name of the allowance that allows `destination`.
    pub(crate) fn allowing(&self, objects: &Objects, destination: &Destination) -> Option<&'static str> {
        let Destination {
            transport,
            address,
            port,
        } = *destination;
        let is_met =
            |rule: Rule| rule.transport == transport && rule.port == port && rule.to.contains(address);
        let mut allowances = self.allowances.iter();
        allowances
            .find(|allowance| allowance.rules(objects).any(is_met))
            .map(|allowance| allowance.name)
    }
}

fn to_server((address, port): (IpAddr, u16)) -> impl Iterator<Item = Rule> {
    let to = To::Address(address.to_canonical());
    [Transport::Tcp, Transport::Udp]
        .map(|transport| Rule { transport, port, to })
        .into_iter()
}
