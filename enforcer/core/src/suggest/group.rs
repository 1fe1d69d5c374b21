//! What one object is to allow: the flows to one host, or to some addresses, of namespaces that use the same ports.
//!
//! Namespaces with the same ports share an object, and those with other ports have one of their own, because an object
//! allows all of its ports to everybody who sees it. Addresses without a name are put together where the same namespaces
//! use the same ports of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::flow::Flow;
use crate::{
    model::{Host, Namespace, Protocol, Transport},
    observed::Observation,
};

/// A port by number and transport.
pub(super) type PortId = (u16, Transport);

/// What one object is to allow.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    /// The name; None: it is about addresses.
    pub(super) host: Option<Host>,
    /// At least one.
    pub(super) flows: Vec<Flow<'a>>,
}

/// By what flows are put together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Host(Host),
    Address(IpAddr),
}

/// One for each object.
pub(super) fn groups(flows: Vec<Flow<'_>>) -> Vec<Group<'_>> {
    let mut by_subject: BTreeMap<Subject, Vec<Flow<'_>>> = BTreeMap::new();
    for flow in flows {
        let subject = match &flow.host {
            Some(host) => Subject::Host(host.clone()),
            None => Subject::Address(flow.to.address),
        };
        by_subject.entry(subject).or_default().push(flow);
    }
    let mut groups = Vec::new();
    let mut by_use: BTreeMap<(BTreeSet<Namespace>, BTreeSet<PortId>), Group<'_>> = BTreeMap::new();
    for (subject, flows) in by_subject {
        for flows in classes(flows) {
            match &subject {
                Subject::Host(host) => groups.push(Group {
                    host: Some(host.clone()),
                    flows,
                }),
                Subject::Address(_) => {
                    let group = Group { host: None, flows };
                    let key = (group.namespaces(), group.ports());
                    match by_use.get_mut(&key) {
                        Some(known) => known.flows.extend(group.flows),
                        None => {
                            by_use.insert(key, group);
                        }
                    }
                }
            }
        }
    }
    let by_address = by_use.into_values();
    groups
        .into_iter()
        .chain(by_address)
        .flat_map(Group::by_carrier)
        .collect()
}

/// The flows of namespaces that use the same ports.
fn classes(flows: Vec<Flow<'_>>) -> Vec<Vec<Flow<'_>>> {
    let mut by_namespace: BTreeMap<Namespace, Vec<Flow<'_>>> = BTreeMap::new();
    for flow in flows {
        by_namespace.entry(flow.seen.namespace()).or_default().push(flow);
    }
    let mut classes: BTreeMap<BTreeSet<PortId>, Vec<Flow<'_>>> = BTreeMap::new();
    for flows in by_namespace.into_values() {
        let ports = flows.iter().map(Flow::port).collect();
        classes.entry(ports).or_default().extend(flows);
    }
    classes.into_values().collect()
}

impl<'a> Group<'a> {
    /// An entry has each number once, so that a number which is used by both transports needs a second one.
    fn by_carrier(self) -> Vec<Self> {
        let ports = self.ports();
        let is_both = |number: u16| {
            [Transport::Tcp, Transport::Udp].map(|it| ports.contains(&(number, it))) == [true; 2]
        };
        let (second, first): (Vec<_>, Vec<_>) = self
            .flows
            .into_iter()
            .partition(|flow| flow.to.transport == Transport::Udp && is_both(flow.to.port));
        let host = self.host;
        let parts = [first, second].into_iter().filter(|flows| !flows.is_empty());
        parts
            .map(|flows| Self {
                host: host.clone(),
                flows,
            })
            .collect()
    }

    pub(super) fn namespaces(&self) -> BTreeSet<Namespace> {
        self.flows.iter().map(|flow| flow.seen.namespace()).collect()
    }

    pub(super) fn ports(&self) -> BTreeSet<PortId> {
        self.flows.iter().map(Flow::port).collect()
    }

    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.flows.iter().map(|flow| flow.to.address).collect()
    }

    /// Each observation once, in order.
    pub(super) fn observations(&self) -> Vec<&'a Observation> {
        let mut all: Vec<_> = self.flows.iter().map(|flow| flow.seen).collect();
        all.sort_by_key(|seen| {
            (
                &seen.namespace,
                &seen.workload,
                seen.port,
                seen.transport,
                &seen.host,
            )
        });
        all.dedup_by(|a, b| std::ptr::eq(*a, *b));
        all
    }

    /// The namespace with most calls; of several, the first by name.
    pub(super) fn owner(&self) -> Namespace {
        let mut calls: BTreeMap<Namespace, u64> = BTreeMap::new();
        for seen in self.observations() {
            let count = calls.entry(seen.namespace()).or_default();
            *count = count.saturating_add(seen.count);
        }
        let most = calls.into_iter().rev().max_by_key(|(_, count)| *count);
        most.map(|(namespace, _)| namespace)
            .expect("a group has a flow, and that a namespace")
    }

    /// The parts into which it is divided where one object for all of it does not do: by namespace, else by port.
    pub(super) fn divided(&self) -> Vec<Self> {
        let (namespaces, ports) = (self.namespaces(), self.ports());
        if namespaces.len() > 1 {
            let of = |namespace: Namespace| self.only(|flow| flow.seen.namespace() == namespace);
            return namespaces.into_iter().map(of).collect();
        }
        if ports.len() > 1 {
            return ports
                .into_iter()
                .map(|port| self.only(|flow| flow.port() == port))
                .collect();
        }
        Vec::new()
    }

    pub(super) fn only(&self, is_meant: impl Fn(&Flow<'a>) -> bool) -> Self {
        Self {
            host: self.host.clone(),
            flows: self.flows.iter().filter(|flow| is_meant(flow)).cloned().collect(),
        }
    }

    /// The protocol of each port.
    pub(super) fn protocols(&self, of: impl Fn(PortId) -> Protocol) -> BTreeMap<u16, Protocol> {
        let ports = self.ports().into_iter();
        ports.map(|port| (port.0, of(port))).collect()
    }
}
