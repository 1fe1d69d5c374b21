//! The rules of a port behind one listener of a Sidecar (`buildSidecarOutboundListeners` in `listener.go`).
//!
//! A listener owns (bind, port). The common one of a port, `0.0.0.0`, has all HTTP services, and others without an
//! address of their own; a service's own address, and each endpoint of a headless one, has a listener to itself.

use std::borrow::Cow;

use super::{Facts, Grant, Port, PortGrants, RESERVED, Served, Source, is_off};
use crate::{
    istio::{Bind, Resolution, ServiceKind},
    objects::Owner,
    rule::{Rule, To},
    settings::Matching,
};

/// How a listener takes connections to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// Where it takes them.
    pub(crate) bind: Bind,
    /// Whether it is for one port: then it has no listener for each endpoint.
    pub(crate) has_port: bool,
    /// Whether an earlier listener owns the common one of the port.
    pub(crate) is_owned: bool,
}

impl Way {
    /// Without a Sidecar.
    pub(crate) const PLAIN: Self = Self {
        bind: Bind::Services,
        has_port: false,
        is_owned: false,
    };
}

/// What `port` grants on a listener; `plain` is what it grants without one.
pub(crate) fn grants_on<'a>(
    way: Way,
    (served, port): (Served<'_>, Port),
    facts: &Facts<'_>,
    plain: impl FnOnce() -> Cow<'a, PortGrants>,
) -> Cow<'a, PortGrants> {
    let is_istio = facts.settings.matching == Matching::Istio;
    match way.bind {
        Bind::Local => Cow::Owned(PortGrants::default()),
        Bind::At(address) => Cow::Owned(at(To::Address(address), served, port, facts)),
        // The proxy has listeners of its own at `0.0.0.0`, and HTTP is always there (`conflictWithReservedListener`).
        Bind::Anywhere if RESERVED.contains(&port.number) => Cow::Owned(PortGrants::default()),
        Bind::Anywhere if is_istio => Cow::Owned(at(To::Any, served, port, facts)),
        Bind::Services
            if is_istio && way.has_port && is_passed_on(served.owner) && !port.protocol.is_http() =>
        {
            Cow::Owned(at(To::Any, served, port, facts))
        }
        // Under `istio` it does not matter who owns the common listener: it accepts any address as others would.
        Bind::Services | Bind::Anywhere if !is_istio && way.is_owned => {
            Cow::Owned(beside(served, port, plain()))
        }
        Bind::Services | Bind::Anywhere => plain(),
    }
}

/// What the listener itself takes, whatever its services declare.
fn at(to: To, served: Served<'_>, port: Port, facts: &Facts<'_>) -> PortGrants {
    let is_alias = matches!(served.owner, Owner::Service(service) if matches!(service.kind, ServiceKind::ExternalName(_)));
    if is_off(port, facts) || is_alias {
        return PortGrants::default();
    }
    let rule = Rule {
        transport: port.protocol.transport(),
        port: port.number,
        to,
    };
    PortGrants {
        grants: vec![Grant {
            rule,
            source: Source::Listener,
        }],
        names: Vec::new(),
    }
}

/// Whether the proxy connects to where the client dialled, and finds out where that may be from the endpoints.
pub(crate) fn is_passed_on(owner: &Owner) -> bool {
    match owner {
        Owner::Service(service) => service.kind == ServiceKind::Headless,
        Owner::Entry(entry) => {
            entry.resolution == Resolution::None
                && entry.selector.is_some()
                && super::entry::has_no_address(entry)
        }
    }
}

/// What is not on the common listener: addresses that the service has to itself.
fn beside(served: Served<'_>, port: Port, plain: Cow<'_, PortGrants>) -> PortGrants {
    if port.protocol.is_http() {
        return PortGrants::default();
    }
    let is_own = |grant: &Grant| {
        matches!(grant.rule.to, To::Address(_))
            && match grant.source {
                Source::Declared | Source::Allocated | Source::ClusterIp => true,
                Source::Endpoint | Source::Selected => is_passed_on(served.owner),
                Source::Resolved(_) | Source::Given(_) | Source::Listener | Source::AnyAddress => false,
            }
    };
    let mut plain = plain.into_owned();
    plain.grants.retain(is_own);
    plain.names.clear();
    plain
}
