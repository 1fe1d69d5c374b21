//! The rules that one port of one object grants, with what in the object makes each.
//!
//! `ServiceEntry -> entry, Service -> service -> PortGrants`
//!
//! It must never decide who sees what: that is `view`.

mod entry;
mod service;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub(crate) use entry::is_port_only;
pub(crate) use source::{Grant, Source};

use crate::{
    model::{Host, Protocol, Transport},
    objects::{Objects, Owner},
    rule::To,
    settings::{Settings, UdpPolicy},
};

/// Ports of listeners of the proxy's own: HTTP ports of services get no listener there
/// (`conflictWithReservedListener`), so that nothing is reached by them in either matching.
const RESERVED: [u16; 4] = [15001, 15006, 15021, 15090];

/// What rules are made from beside the object itself.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) settings: &'a Settings,
}

/// A port as a client dials it, with the protocol that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    pub(crate) protocol: Protocol,
}

/// Where a host may be, and what that hangs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Related {
    /// Every address and network that is declared, chosen or resolved, in order, each once.
    pub(crate) to: Vec<To>,
    /// Names beside its own whose addresses matter.
    pub(crate) names: BTreeSet<Host>,
}

impl Related {
    /// Brings what was put together into its order.
    pub(crate) fn sort(&mut self) {
        self.to.sort_unstable();
        self.to.dedup();
        self.to.shrink_to_fit();
    }
}

/// The rules of one port, and the hosts whose addresses belong to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortGrants {
    /// In the order of their rules, a rule once.
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

/// Whether the proxy keeps the port to itself, so that no service is reached on it.
pub(crate) fn is_reserved(number: u16, protocol: Protocol) -> bool {
    protocol.is_http() && RESERVED.contains(&number)
}

/// What `host` of `owner` has to do with, whatever the port and the matching.
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
