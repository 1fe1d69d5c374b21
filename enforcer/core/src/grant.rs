//! The rules that one port of one object grants, each with the part of the object that it comes from.
//!
//! `ServiceEntry -> entry, Service -> service -> PortGrants`, and where a proxy sends that: `behind`
//!
//! It must never decide who sees what: that is `view`.

mod behind;
mod entry;
mod listener;
mod service;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::IpAddr};

pub(crate) use behind::{at_name, behind, endpoints};
pub(crate) use entry::{
    has_endpoint, is_port_only, is_unix, known_addresses, own_endpoints, selects_nothing,
};
pub(crate) use listener::{Way, grants_on, is_passed_on};
pub(crate) use source::{Grant, Source};

use crate::{
    model::{Host, Protocol, Transport},
    objects::{Objects, Owner},
    rule::{Rule, To},
    settings::{Matching, Settings, UdpPolicy},
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

/// One host of one object.
#[derive(Clone, Copy)]
pub(crate) struct Served<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) host: &'a Host,
    /// The endpoints that other entries of its namespace have for the host.
    pub(crate) pooled: &'a [Pooled],
}

/// An endpoint of one entry for a port of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pooled {
    pub(crate) number: u16,
    pub(crate) transport: Transport,
    pub(crate) address: IpAddr,
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
    /// What is left if nothing is behind the port. Under `istio`, a listener for HTTP that nothing else has made takes
    /// the requests for every service of the port, so that what is common to them stays.
    pub(crate) fn of_listener(mut self, port: Port, facts: &Facts<'_>) -> Self {
        let is_istio = facts.settings.matching == Matching::Istio;
        let is_common = |grant: &Grant| grant.rule.to == To::Any && port.protocol == Protocol::Auto;
        self.grants
            .retain(|grant| is_istio && (port.protocol.is_http() || is_common(grant)));
        self.names.clear();
        self
    }

    /// The endpoints that others have for the same port.
    fn add_pooled(&mut self, served: Served<'_>, port: Port) {
        let transport = port.protocol.transport();
        let is_behind = |it: &&Pooled| (it.number, it.transport) == (port.number, transport);
        // Its own have a source that says more.
        let own: BTreeSet<Rule> = self.grants.iter().map(|grant| grant.rule).collect();
        let pooled = served.pooled.iter().filter(is_behind).map(|it| Rule {
            transport,
            port: port.number,
            to: To::Address(it.address),
        });
        let others = pooled.filter(|rule| !own.contains(rule)).map(|rule| Grant {
            rule,
            source: Source::Endpoint,
        });
        self.grants.extend(others);
    }

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

/// What `port` of a host grants under the settings, wherever its services are.
pub(crate) fn grants(served: Served<'_>, port: Port, facts: &Facts<'_>) -> PortGrants {
    if is_off(port, facts) || is_reserved(port.number, port.protocol) {
        return PortGrants::default();
    }
    match served.owner {
        Owner::Entry(object) => entry::grants(object, served, port, facts),
        Owner::Service(object) => service::grants(object, served, port, facts),
    }
}

/// Whether the settings leave the port's transport to other rules.
fn is_off(port: Port, facts: &Facts<'_>) -> bool {
    port.protocol.transport() == Transport::Udp && facts.settings.udp != UdpPolicy::Registry
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
