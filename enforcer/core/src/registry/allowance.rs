//! What every workload may reach whatever its view: resolvers, and what the configuration counts as built in.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Key, Objects, Settings};
use crate::{
    istio::ServiceKind,
    model::{Destination, Namespace, Transport},
    rule::{Rule, To},
};

/// A service of the cluster that every workload may reach: at the addresses of a Service, whoever may see it, and at
/// addresses of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// What to call it in messages.
    pub name: &'static str,
    /// Namespace and name of the Service whose cluster addresses are meant.
    pub service: (Namespace, String),
    /// Where it is reached beside those.
    pub addresses: BTreeSet<IpAddr>,
    /// Its ports.
    pub ports: Vec<(Transport, u16)>,
}

impl Allowance {
    /// The cluster's resolver at the Service that every distribution has it at, and at `addresses`: a cache on the
    /// node has one of its own.
    pub fn cluster_dns(addresses: BTreeSet<IpAddr>) -> Self {
        Self {
            name: "cluster DNS",
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

    /// Where its Service is found.
    pub(super) fn key(&self) -> Key {
        let (namespace, name) = &self.service;
        Key::new(namespace, name)
    }

    fn rules(&self, objects: &Objects) -> impl Iterator<Item = Rule> + use<> {
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

/// The rules that everybody has.
pub(super) fn rules(settings: &Settings, objects: &Objects) -> Vec<Rule> {
    let mut rules = BTreeSet::new();
    for address in &settings.resolvers {
        for transport in [Transport::Tcp, Transport::Udp] {
            rules.insert(Rule {
                transport,
                port: 53,
                to: To::Address(address.to_canonical()),
            });
        }
    }
    let built_in = settings.allowances.iter();
    rules.extend(built_in.flat_map(|allowance| allowance.rules(objects)));
    rules.into_iter().collect()
}

/// The name of the allowance that lets `destination` be reached.
pub(crate) fn allowing(
    settings: &Settings,
    objects: &Objects,
    destination: &Destination,
) -> Option<&'static str> {
    let Destination {
        transport,
        address,
        port,
    } = *destination;
    let is_met = |rule: Rule| rule.transport == transport && rule.port == port && rule.to.contains(address);
    let mut allowances = settings.allowances.iter();
    allowances
        .find(|allowance| allowance.rules(objects).any(is_met))
        .map(|allowance| allowance.name)
}
