//! Services of the cluster that every workload may reach whatever its view.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use crate::{
    istio::ServiceKind,
    model::{Namespace, Transport},
    objects::{Key, Objects},
    rule::{Rule, To},
};

/// A service of the cluster that every workload may reach: at the addresses of a Service, even if the workload
/// does not see it, and at addresses of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Its name in messages.
    pub name: &'static str,
    /// Namespace and name of the Service with its cluster addresses.
    pub service: (Namespace, String),
    /// Its other addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Its ports.
    pub ports: Vec<(Transport, u16)>,
}

impl Allowance {
    /// The name of [`Self::cluster_dns`].
    pub const CLUSTER_DNS: &str = "cluster DNS";

    /// The cluster's resolver, at the Service that every distribution uses for it, and at `addresses`: a cache on
    /// the node has an address of its own.
    pub fn cluster_dns(addresses: BTreeSet<IpAddr>) -> Self {
        Self {
            name: Self::CLUSTER_DNS,
            service: (Namespace::new("kube-system"), "kube-dns".to_owned()),
            addresses,
            ports: vec![(Transport::Tcp, 53), (Transport::Udp, 53)],
        }
    }

    /// The API server as pods reach it.
    pub fn api_server() -> Self {
        Self {
            name: "kubernetes.default",
            service: (Namespace::new("default"), "kubernetes".to_owned()),
            addresses: BTreeSet::new(),
            ports: vec![(Transport::Tcp, 443)],
        }
    }

    /// The key of its Service.
    pub(crate) fn key(&self) -> Key {
        let (namespace, name) = &self.service;
        Key::new(namespace, name)
    }

    /// Where it answers: also at the endpoints of its Service and their ports.
    pub(crate) fn servers(&self, objects: &Objects) -> BTreeSet<SocketAddr> {
        let ports: BTreeSet<u16> = self.ports.iter().map(|(_, port)| *port).collect();
        let at = |addresses: &BTreeSet<IpAddr>, ports: &BTreeSet<u16>| -> Vec<SocketAddr> {
            let addresses = addresses.iter().map(IpAddr::to_canonical);
            let at = addresses.flat_map(|address| ports.iter().map(move |port| (address, *port)));
            at.map(SocketAddr::from).collect()
        };
        let mut servers: BTreeSet<_> = at(&self.addresses, &ports).into_iter().collect();
        if let Some(service) = objects.services.get(&self.key()) {
            let dialled = service.ports.iter().filter(|port| ports.contains(&port.number));
            let targets: BTreeSet<u16> = dialled.filter_map(|port| port.target).collect();
            servers.extend(at(
                &objects.endpoints(service),
                &ports.union(&targets).copied().collect(),
            ));
            if let ServiceKind::ClusterIp(cluster) = &service.kind {
                servers.extend(at(&cluster.iter().copied().collect(), &ports));
            }
        }
        servers
    }

    pub(super) fn rules(&self, objects: &Objects) -> impl Iterator<Item = Rule> + use<> {
        let mut addresses: BTreeSet<_> = self.addresses.iter().map(IpAddr::to_canonical).collect();
        if let Some(service) = objects.services.get(&self.key())
            && let ServiceKind::ClusterIp(cluster) = &service.kind
        {
            addresses.extend(cluster.iter().map(IpAddr::to_canonical));
        }
        let ports = self.ports.clone();
        addresses.into_iter().flat_map(move |address| {
            let rule = move |(transport, port)| Rule {
                transport,
                port,
                to: To::Address(address),
            };
            ports.clone().into_iter().map(rule)
        })
    }
}
