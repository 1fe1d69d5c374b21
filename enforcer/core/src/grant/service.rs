//! The rules of one port of a Kubernetes Service.
//!
//! They do not include pod addresses behind a ClusterIP, node ports, load balancers and external addresses:
//! Istio refuses those too. A UDP port grants the same as a TCP port, because otherwise no workload could
//! reach the cluster's own UDP services while UDP follows the registry.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Facts, Grant, Port, PortGrants, Served, Source};
use crate::{
    istio::{Service, ServiceKind},
    rule::{Rule, To},
    settings::Matching,
};

/// What one port of `service` grants.
pub(super) fn grants(service: &Service, served: Served<'_>, port: Port, facts: &Facts<'_>) -> PortGrants {
    let grant = |to, source| Grant {
        rule: Rule {
            transport: port.protocol.transport(),
            port: port.number,
            to,
        },
        source,
    };
    let source = match service.kind {
        ServiceKind::ClusterIp(_) => Source::ClusterIp,
        ServiceKind::Headless => Source::Endpoint,
        // An alias has no listener; its target has to be registered itself.
        ServiceKind::ExternalName(_) => return PortGrants::default(),
    };
    let grants = if facts.settings.matching == Matching::Istio && port.protocol.is_http() {
        vec![grant(To::Any, Source::AnyAddress)]
    } else {
        let addresses = match service.kind {
            // An endpoint serves only the ports that its slice names (`CopyEndpoints`).
            ServiceKind::Headless => facts.objects.endpoints_on(service, port.number),
            ServiceKind::ClusterIp(_) | ServiceKind::ExternalName(_) => addresses(service, facts),
        };
        let addresses = addresses.into_iter();
        addresses
            .map(|address| grant(To::Address(address), source.clone()))
            .collect()
    };
    let mut out = PortGrants {
        grants,
        names: Vec::new(),
    };
    if service.kind == ServiceKind::Headless {
        out.add_pooled(served, port);
    }
    out.sort();
    out
}

/// Where clients reach `service`.
pub(super) fn addresses(service: &Service, facts: &Facts<'_>) -> BTreeSet<IpAddr> {
    match &service.kind {
        ServiceKind::ClusterIp(addresses) => addresses.iter().map(IpAddr::to_canonical).collect(),
        ServiceKind::Headless => facts.objects.endpoints(service),
        ServiceKind::ExternalName(_) => BTreeSet::new(),
    }
}
