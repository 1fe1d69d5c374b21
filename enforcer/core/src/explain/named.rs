//! By name: what a workload may reach at addresses that a trusted resolver gives it for a host, whatever these are.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use enforcer_common::HostId;

use super::{Asked, At, Explanation, Matched, Question, Why};
use crate::{
    grant::{PortGrants, Source},
    model::{Host, Transport, Workload},
    offer::{Import, Offer},
    pattern::ids_over,
    registry::Registry,
    settings::Matching,
};

/// Where somebody wants to go whose address is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What carries it.
    pub transport: Transport,
    /// The host, no wildcard.
    pub host: Host,
    /// The port dialled.
    pub port: u16,
}

/// As [`Destination`](crate::model::Destination) has it.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{transport} {}:{}", self.host, self.port)
    }
}

impl Registry {
    /// Why a workload, which need not exist, may or may not reach a host at addresses that it is given for the name and
    /// that no rule knows.
    pub fn explain_named(&mut self, workload: &Workload, named: &Named) -> Explanation {
        // A wildcard has the addresses of the names below it that are resolved for anybody.
        let is_resolved = self.hosts().contains(&named.host);
        let asked = Asked {
            transport: named.transport,
            port: named.port,
            at: At::Name(&named.host, is_resolved),
        };
        self.explain_what(workload, asked, &ids_over(&named.host))
    }

    /// The hosts for which an address counts once a trusted resolver gives it to a workload for `name`: none if nothing is
    /// learned, or if no name may stand for the address.
    pub fn given_for(&mut self, name: &Host, address: IpAddr) -> BTreeSet<HostId> {
        if self.settings().learns && !self.is_protected(address.to_canonical()) {
            ids_over(name)
        } else {
            BTreeSet::new()
        }
    }
}

impl<'a> Question<'a> {
    /// The name that is asked for, if the enforcer resolves it for this port. Those that learn need not wait for that.
    pub(super) fn resolved_for(&self, import: &Import<'_>, of_port: &PortGrants) -> Option<&'a Host> {
        let At::Name(name, is_resolved) = self.asked.at else {
            return None;
        };
        let is_it = |host: &Host| host == name || is_resolved && host.covers(name);
        // Under `istio`, names are there for messages alone.
        let is_declared = self.lookup.facts.settings.matching == Matching::Declared;
        let port = (import.protocol.transport(), import.number);
        let is_meant = is_declared && port == (self.asked.transport, self.asked.port);
        (is_meant && of_port.names.iter().any(is_it)).then_some(name)
    }

    /// The reason for allowing what `matched` matches.
    pub(super) fn permission(&self, matched: &Matched, source: Option<&Source>) -> Why {
        let (object, port) = (matched.object.clone(), matched.port_name.clone());
        match (self.asked.at, source) {
            (_, None) => Why::Behind { object },
            (At::Name(name, _), Some(Source::Given(host))) => Why::ToBeGiven {
                object,
                port,
                host: host.clone(),
                name: name.clone(),
            },
            (At::Name(name, _), Some(Source::Resolved(_))) => Why::ToBeResolved {
                object,
                port,
                name: name.clone(),
            },
            (_, Some(source)) => Why::Allowed {
                object,
                port,
                source: source.clone(),
            },
        }
    }

    /// Whether a port that is dialled has a wildcard over the name, and names are not learned.
    pub(super) fn is_never_learned(&self, offer: &Offer) -> bool {
        let settings = self.lookup.facts.settings;
        let mut ports = offer.owner.ports().iter().zip(&offer.grants);
        !settings.learns
            && settings.matching == Matching::Declared
            && offer.host.is_wildcard()
            && ports.any(|(port, grants)| self.is_dialled(port) && grants.names.contains(&offer.host))
    }
}
