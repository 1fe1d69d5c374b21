//! The rules that one port of one object grants, each with the part of the object that it comes from.
//!
//! `ServiceEntry -> entry, Service -> service -> PortGrants`, and where a proxy sends that: `behind`
//!
//! It must never decide who sees what: that is `view`.

mod behind;
mod entry;
mod service;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub(crate) use behind::{at_name, behind, endpoints};
pub(crate) use entry::is_port_only;
pub(crate) use source::{Grant, Source};

use crate::{
    model::{Host, Protocol, Transport},
    objects::{Objects, Owner},
    rule::To,
    settings::{Settings, UdpPolicy},
};

/// Ports of the proxy's own listeners. Istio creates no listener there for HTTP ports of services
/// (`conflictWithReservedListener`), so such ports grant nothing in either matching.
const RESERVED: [u16; 4] = [15001, 15006, 15021, 15090];

/// The inputs of rules other than the object itself.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) settings: &'a Settings,
}

/// A port as a client dials it, with its effective protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

/// The addresses that a host may have, and the names that they depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Related {
    /// Every address and network that is declared, chosen or resolved, in order, each once.
    pub(crate) to: Vec<To>,
    /// Names other than its own whose addresses affect it.
    pub(crate) names: BTreeSet<Host>,
}

impl Related {
    /// Sorts what was collected and removes duplicates.
    pub(crate) fn sort(&mut self) {
        self.to.sort_unstable();
        self.to.dedup();
        self.to.shrink_to_fit();
    }
}

/// The rules of one port, and the hosts whose addresses belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortGrants {
    /// Sorted by rule, each rule once.
    pub(crate) grants: Vec<Grant>,
    /// Hosts whose addresses belong to them: names that have to be resolved, and wildcards.
    pub(crate) names: Vec<Host>,
}

impl PortGrants {
    fn sort(&mut self) {
        self.grants
            .sort_by(|a, b| (&a.rule, &a.source).cmp(&(&b.rule, &b.source)));
        self.grants.dedup_by(|a, b| a.rule == b.rule);
        self.grants.shrink_to_fit();
        self.names.sort();
        self.names.dedup();
        self.names.shrink_to_fit();
    }
}

/// What `port` of `host` grants under the settings.
pub(crate) fn grants(owner: &Owner, host: &Host, port: Port, facts: &Facts<'_>) -> PortGrants {
    if port.protocol.transport() == Transport::Udp && facts.settings.udp != UdpPolicy::Registry {
        return PortGrants::default();
    }
    if is_reserved(port.number, port.protocol) {
        return PortGrants::default();
    }
    match owner {
        Owner::Entry(object) => entry::grants(object, host, port, facts),
        Owner::Service(object) => service::grants(object, port, facts),
    }
}

/// Whether the proxy reserves the port, so that no service is reached on it.
pub(crate) fn is_reserved(number: u16, protocol: Protocol) -> bool {
    protocol.is_http() && RESERVED.contains(&number)
}

/// The addresses and names of `host` of `owner`, for any port and either matching.
pub(crate) fn related(owner: &Owner, host: &Host, facts: &Facts<'_>) -> Related {
    match owner {
        Owner::Entry(object) => entry::related(object, host, facts),
        Owner::Service(object) => Related {
            to: service::addresses(object, facts)
                .into_iter()
                .map(To::Address)
                .collect(),
            names: BTreeSet::new(),
        },
    }
}
