//! What a workload's proxy dials, worked out the slow way: the clusters of everything that the workload imports, and
//! where each of them leads.

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_core::{
    istio::{Endpoint, EndpointAddress, Object, Resolution, ServiceEntry, ServiceKind, ServicePort},
    model::{Destination, Host, Protocol, Transport, Workload},
};

use crate::naive::{self, Of, Offer, Scope, World};

/// The port of HBONE.
const HBONE: u16 = 15008;

/// Whether the proxy of `workload` may have to dial the destination.
pub(crate) fn dials(world: &World, workload: &Workload, to: &Destination) -> bool {
    if to.transport != Transport::Tcp {
        return false;
    }
    let offers = naive::offers(world);
    let hosts: BTreeSet<&Host> = offers.iter().map(|offer| &offer.host).collect();
    let listeners = naive::listeners(world, workload);
    hosts.into_iter().any(|host| {
        let of_host = |listener| naive::winners(world, workload, listener, naive::of_host(&offers, host));
        let imported: Vec<_> = listeners.iter().map(of_host).collect();
        let scope = Scope {
            world,
            listeners: &listeners,
            imported: &imported,
        };
        (0..listeners.len()).any(|index| {
            imported[index].iter().any(|offer| {
                let mut ports = offer.ports.iter();
                ports.any(|port| leads(&scope, index, (offer, port), to))
            })
        })
    })
}

/// Whether the cluster of a port, which a listener imports, leads there.
fn leads(
    scope: &Scope<'_>,
    index: usize,
    (offer, port): (&Offer<'_>, &ServicePort),
    to: &Destination,
) -> bool {
    let listener = &scope.listeners[index];
    if !naive::is_on(listener, port) || naive::transport(port.protocol) != Transport::Tcp {
        return false;
    }
    let protocol = listener.port.map_or(port.protocol, |(_, protocol)| protocol);
    if naive::is_http(protocol) && [15001, 15006, 15021, 15090].contains(&port.number) {
        return false;
    }
    is_pooled(scope.world, (offer, port), to)
        || match &offer.of {
            Of::Service(service) => {
                !matches!(service.kind, ServiceKind::ExternalName(_))
                    && in_slice(scope.world, (offer, port), to)
            }
            Of::Entry(entry) => {
                let is_name = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
                    && entry.endpoints.is_empty()
                    && entry.selector.is_none();
                (is_name && to.port == target(port) && naive::resolves(scope.world, &offer.host, to))
                    || (matches!(entry.resolution, Resolution::None | Resolution::DynamicDns)
                        && passes(scope, index, (offer, port), to))
            }
        }
}

/// Without resolution, and by the name that a request has, the proxy dials what the client has dialled.
fn passes(
    scope: &Scope<'_>,
    index: usize,
    (offer, port): (&Offer<'_>, &ServicePort),
    to: &Destination,
) -> bool {
    let number = match scope.listeners[index].port {
        Some((number, Protocol::HttpProxy)) => number,
        _ => port.number,
    };
    let dialled = Destination::new(to.transport, to.address, number);
    to.port == target(port) && naive::serves(scope, index, (offer, port), &dialled)
}

/// The endpoints of a host are those of all entries of its namespace, whoever sees them.
fn is_pooled(world: &World, (offer, port): (&Offer<'_>, &ServicePort), to: &Destination) -> bool {
    naive::offers(world).into_iter().any(|other| match &other.of {
        Of::Entry(entry) if other.host == offer.host && other.meta.namespace == offer.meta.namespace => {
            let mut ports = other.ports.iter();
            ports.any(|of| {
                of.number == port.number
                    && naive::transport(of.protocol) == Transport::Tcp
                    && has_endpoint(world, (entry, &other.host), of, to)
            })
        }
        Of::Entry(_) | Of::Service(_) => false,
    })
}

/// Whether an endpoint of an entry serves the port there, ready or not; where names are resolved, the host itself is
/// one if there is no other.
fn has_endpoint(
    world: &World,
    (entry, host): (&ServiceEntry, &Host),
    port: &ServicePort,
    to: &Destination,
) -> bool {
    let is_at = |endpoint: &Endpoint| {
        let own = endpoint.ports.get(&port.name).copied();
        let number = own.unwrap_or_else(|| target(port));
        match &endpoint.address {
            EndpointAddress::Ip(address) => is_there(*address, number, to),
            EndpointAddress::Host(name) => {
                entry.resolution != Resolution::Static
                    && to.port == number
                    && naive::resolves(world, name, to)
            }
            EndpointAddress::Unix(_) | EndpointAddress::Unset => false,
        }
    };
    let Some(selector) = &entry.selector else {
        let is_name = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
        let is_host = is_name && entry.endpoints.is_empty() && to.port == target(port);
        return entry.endpoints.iter().any(is_at) || (is_host && naive::resolves(world, host, to));
    };
    world.objects.values().any(|object| match object {
        Object::Pod(pod) => {
            let mut addresses = pod.addresses.iter();
            pod.meta.namespace == entry.meta.namespace
                && naive::is_subset(selector, &pod.meta.labels)
                && addresses.any(|address| is_there(*address, target(port), to))
        }
        Object::WorkloadEntry(of) => {
            let mut labels = of.endpoint.labels.clone();
            labels.extend(of.meta.labels.clone());
            of.meta.namespace == entry.meta.namespace
                && of.healthy
                && naive::is_of_this_revision(world, &of.meta)
                && naive::is_subset(selector, &labels)
                && is_at(&of.endpoint)
        }
        _ => false,
    })
}

fn in_slice(world: &World, (offer, port): (&Offer<'_>, &ServicePort), to: &Destination) -> bool {
    world.objects.values().any(|object| {
        let Object::EndpointSlice(slice) = object else {
            return false;
        };
        let is_meant = slice.meta.namespace == offer.meta.namespace && slice.service == offer.meta.name;
        let mut ports = slice.ports.iter();
        is_meant
            && ports.any(|it| {
                let is_of_port = it.name == port.name && it.transport == Transport::Tcp && it.number != 0;
                let mut addresses = slice.addresses.iter();
                is_of_port && addresses.any(|address| is_there(*address, it.number, to))
            })
    })
}

fn is_there(address: IpAddr, port: u16, to: &Destination) -> bool {
    address.to_canonical() == to.address && (to.port == port || to.port == HBONE)
}

fn target(port: &ServicePort) -> u16 {
    port.target.unwrap_or(port.number)
}
