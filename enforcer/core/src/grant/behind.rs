//! What stands behind one port of one object: where a pod's proxy sends what the pod's application has sent to the port.
//!
//! ```text
//! Service -> slices, WorkloadEntries -.
//! ServiceEntry -> endpoints, selected --+-> address : port of the endpoint, and HBONE
//!             \-> names, dialled addresses -> address : targetPort
//! ```
//!
//! All of it is in the registry, so that it does not matter whether there is a proxy in a pod that says so. Unready
//! endpoints count: the proxy may still dial one of which it has not been told, and nobody but the endpoint is there.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Facts, Grant, PortGrants, Served, Source, is_reserved};
use crate::{
    istio::{
        Endpoint, EndpointAddress, Resolution, Service, ServiceEntry, ServiceKind, ServicePort, SlicePort,
    },
    model::{Host, Labels, Namespace, Protocol, Transport},
    objects::Owner,
    pattern::pattern,
    rule::{Rule, To},
};

/// The port of HBONE, by which proxies reach those of ambient mode: on the endpoint's own address.
const HBONE: u16 = 15008;

/// What stands behind `port` under its effective protocol, of which clients dial `dialled`. A proxy has no part in UDP.
pub(crate) fn behind(
    served: Served<'_>,
    (port, protocol): (&ServicePort, Protocol),
    dialled: PortGrants,
    facts: &Facts<'_>,
) -> PortGrants {
    if protocol.transport() == Transport::Udp || is_reserved(port.number, protocol) {
        return PortGrants::default();
    }
    let mut behind = Behind {
        port,
        facts,
        out: PortGrants::default(),
    };
    match served.owner {
        Owner::Service(service) => behind.service(service),
        Owner::Entry(entry) => {
            behind.entry(entry, served.host);
            if matches!(entry.resolution, Resolution::None | Resolution::DynamicDns) {
                behind.dialled(dialled);
            }
        }
    }
    behind.out.sort();
    behind.out
}

/// The addresses that only a proxy dials, in order: endpoints of a Service that clients reach at other addresses, and
/// what an entry selects, ready or not.
pub(crate) fn endpoints(owner: &Owner, facts: &Facts<'_>) -> BTreeSet<IpAddr> {
    match owner {
        Owner::Service(service) if matches!(service.kind, ServiceKind::ClusterIp(_)) => {
            let mut addresses = facts.objects.endpoints(service);
            let chosen = chosen(&service.meta.namespace, &service.selector, facts);
            addresses.extend(chosen.filter_map(|endpoint| match endpoint.address {
                EndpointAddress::Ip(address) => Some(address.to_canonical()),
                _ => None,
            }));
            addresses
        }
        Owner::Service(_) => BTreeSet::new(),
        Owner::Entry(entry) => {
            let selectors = entry.selector.iter();
            let pods = selectors.flat_map(|it| facts.objects.chosen_pods(&entry.meta.namespace, it));
            let addresses = pods.flat_map(|pod| pod.addresses.iter().map(IpAddr::to_canonical));
            addresses.collect()
        }
    }
}

/// Rules for the addresses of `name`, as far as they are known, and for what the workload will be given for it.
pub(crate) fn at_name(name: &Host, (transport, port): (Transport, u16), facts: &Facts<'_>) -> PortGrants {
    let grant = |to, source| Grant {
        rule: Rule { transport, port, to },
        source,
    };
    let mut out = PortGrants::default();
    out.names.push(name.clone());
    if facts.settings.learns
        && let Some((_, pattern)) = pattern(name)
    {
        let source = Source::Given(name.clone());
        out.grants.push(grant(To::Host(pattern.host), source));
    }
    let addresses = facts.objects.addresses_of(name).into_iter();
    let resolved = |address| grant(To::Address(address), Source::Resolved(name.clone()));
    out.grants.extend(addresses.map(resolved));
    out
}

/// The WorkloadEntries that a Service selects (`serviceInstanceFromWorkloadInstance` in Istio's `controller.go`); one
/// without a selector selects nothing.
fn chosen<'a>(
    namespace: &'a Namespace,
    selector: &'a Labels,
    facts: &Facts<'a>,
) -> impl Iterator<Item = &'a Endpoint> {
    let objects = facts.objects;
    let revision = &facts.settings.revision;
    let selectors = (!selector.is_empty()).then_some(selector).into_iter();
    selectors
        .flat_map(move |selector| objects.chosen_entries(namespace, selector, revision))
        .map(|entry| &entry.endpoint)
}

struct Behind<'a> {
    port: &'a ServicePort,
    facts: &'a Facts<'a>,
    out: PortGrants,
}

impl Behind<'_> {
    fn service(&mut self, service: &Service) {
        if matches!(service.kind, ServiceKind::ExternalName(_)) {
            // An alias has no endpoints; its target has to be registered itself.
            return;
        }
        let facts = *self.facts;
        for slice in facts.objects.slices(service) {
            let is_meant = |it: &&SlicePort| {
                it.name == self.port.name && it.transport == Transport::Tcp && it.number != 0
            };
            let ports: Vec<u16> = slice.ports.iter().filter(is_meant).map(|it| it.number).collect();
            for address in &slice.addresses {
                for port in &ports {
                    self.endpoint(*address, *port, Source::Endpoint);
                }
            }
        }
        if service.kind == ServiceKind::Headless {
            // A client dials the endpoints itself, and WorkloadEntries are none there (`collectWorkloadInstanceEndpoints`).
            return;
        }
        for endpoint in chosen(&service.meta.namespace, &service.selector, &facts) {
            let EndpointAddress::Ip(address) = endpoint.address else {
                continue;
            };
            self.endpoint(address, self.port_of(endpoint), Source::Selected);
            if self.port.target.is_none() {
                // The target may be one of the entry's ports by name.
                for port in endpoint.ports.values() {
                    self.endpoint(address, *port, Source::Selected);
                }
            }
        }
    }

    fn entry(&mut self, entry: &ServiceEntry, host: &Host) {
        for endpoint in &entry.endpoints {
            self.at(endpoint, entry.resolution, Source::Endpoint);
        }
        let facts = *self.facts;
        if let Some(selector) = &entry.selector {
            let (objects, namespace) = (facts.objects, &entry.meta.namespace);
            for pod in objects.chosen_pods(namespace, selector) {
                for address in &pod.addresses {
                    self.endpoint(*address, self.target(), Source::Selected);
                }
            }
            for of in objects.chosen_entries(namespace, selector, &facts.settings.revision) {
                self.at(&of.endpoint, entry.resolution, Source::Selected);
            }
        }
        let is_resolved = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        if is_resolved && entry.endpoints.is_empty() && entry.selector.is_none() {
            self.name(host, self.target());
        }
    }

    /// To where the client dialled, or to what the request's name resolves to.
    fn dialled(&mut self, dialled: PortGrants) {
        let target = self.target();
        let at_target = |grant: Grant| Grant {
            rule: Rule {
                port: target,
                ..grant.rule
            },
            ..grant
        };
        self.out.names.extend(dialled.names);
        self.out.grants.extend(dialled.grants.into_iter().map(at_target));
    }

    fn at(&mut self, endpoint: &Endpoint, resolution: Resolution, source: Source) {
        let port = self.port_of(endpoint);
        match &endpoint.address {
            EndpointAddress::Ip(address) => self.endpoint(*address, port, source),
            EndpointAddress::Host(name) if resolution != Resolution::Static => self.name(name, port),
            EndpointAddress::Host(_) | EndpointAddress::Unix(_) | EndpointAddress::Unset => {}
        }
    }

    /// Where an endpoint serves the port: its own port of that name, else the target.
    fn port_of(&self, endpoint: &Endpoint) -> u16 {
        let own = endpoint.ports.get(&self.port.name).copied();
        own.filter(|port| *port != 0).unwrap_or_else(|| self.target())
    }

    fn target(&self) -> u16 {
        let target = self.port.target.filter(|target| *target != 0);
        target.unwrap_or(self.port.number)
    }

    fn endpoint(&mut self, address: IpAddr, port: u16, source: Source) {
        let grant = |port| Grant {
            rule: Rule {
                transport: Transport::Tcp,
                port,
                to: To::Address(address.to_canonical()),
            },
            source: source.clone(),
        };
        self.out.grants.extend([grant(port), grant(HBONE)]);
    }

    fn name(&mut self, name: &Host, port: u16) {
        let of_name = at_name(name, (Transport::Tcp, port), self.facts);
        self.out.grants.extend(of_name.grants);
        self.out.names.extend(of_name.names);
    }
}
