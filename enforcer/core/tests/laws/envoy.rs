//! What Envoy could accept: a model of the listeners that Istio gives a workload's proxy.
//!
//! ```text
//! imported services -> listeners (bind, port) -> chains by network -> clusters that can have an endpoint
//! ```
//!
//! It follows `buildSidecarOutboundListeners` and `buildSidecarOutboundListener` in `listener.go`, the choice of a
//! listener in `matchListener` of the simulation, and the routes of a port in `GetEgressListenerForRDS`. Whatever a
//! client can choose, it may choose right: the `Host` header, SNI and the bytes. Chains that Istio leaves out because
//! they conflict with others are kept, so that the model accepts a little more than Envoy.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_core::{
    istio::{Bind, EgressListener, EndpointAddress, Object, Resolution, Service, ServiceKind, ServicePort},
    model::{Destination, Host, Protocol, Transport, Workload},
};
use ipnet::IpNet;

use crate::naive::{self, Of, Offer, Scope, World};

/// Ports on which the proxy has listeners of its own.
const RESERVED: [u16; 4] = [15001, 15006, 15021, 15090];

/// Where a listener is; None is the common one of its port, `0.0.0.0`.
type Key = (Option<IpAddr>, u16);

/// A listener of the proxy.
#[derive(Default)]
struct Listener {
    /// Whether a port of the Sidecar has made it, so that the last listener adds nothing.
    is_locked: bool,
    /// The networks of its chains of bytes; None is a chain for all. Each leads to a cluster with an endpoint or not.
    chains: Vec<(Option<IpNet>, bool)>,
    /// Whether it has a chain for HTTP, whose routes are those of the port.
    has_http: bool,
}

/// Whether the proxy of `workload` could accept a TCP connection and have somewhere to send it.
pub(crate) fn could_accept(world: &World, workload: &Workload, to: &Destination) -> bool {
    let offers = naive::offers(world);
    let proxy = Proxy::new(world, workload, &offers);
    let listeners = proxy.listeners();
    let exact = listeners.get(&(Some(to.address), to.port));
    let Some(listener) = exact.or_else(|| listeners.get(&(None, to.port))) else {
        return false;
    };
    let is_within = |network: &IpNet| naive::is_within(network, to);
    let mut chains = listener.chains.iter();
    chains.any(|(network, leads)| *leads && network.as_ref().is_none_or(is_within))
        || (listener.has_http && proxy.has_route(to.port))
}

struct Proxy<'a> {
    world: &'a World,
    egress: Vec<EgressListener>,
    /// By host: what each listener imports of it.
    imported: Vec<Vec<Vec<&'a Offer<'a>>>>,
}

/// A port of a service that a listener imports.
struct Imported<'a> {
    offer: &'a Offer<'a>,
    own: &'a ServicePort,
    number: u16,
    protocol: Protocol,
    /// Whether its cluster is there and can have an endpoint.
    leads: bool,
}

impl<'a> Proxy<'a> {
    fn new(world: &'a World, workload: &Workload, offers: &'a [Offer<'a>]) -> Self {
        let egress = naive::listeners(world, workload);
        let hosts: BTreeSet<&Host> = offers.iter().map(|offer| &offer.host).collect();
        let of_host = |host| {
            let of = |listener| naive::winners(world, workload, listener, naive::of_host(offers, host));
            egress.iter().map(of).collect()
        };
        let imported = hosts.into_iter().map(of_host).collect();
        Self {
            world,
            egress,
            imported,
        }
    }

    /// The ports that the listener `index` of the Sidecar has.
    fn ports(&self, index: usize) -> Vec<Imported<'a>> {
        let mut ports = Vec::new();
        for imported in &self.imported {
            let scope = Scope {
                world: self.world,
                listeners: &self.egress,
                imported,
            };
            for offer in &imported[index] {
                for own in offer.ports.iter().filter(|own| own.protocol != Protocol::Udp) {
                    let (number, protocol) = match self.egress[index].port {
                        None => (own.number, own.protocol),
                        Some((number, Protocol::HttpProxy)) => (number, Protocol::HttpProxy),
                        Some((number, protocol)) if number == own.number => (number, protocol),
                        Some(_) => continue,
                    };
                    ports.push(Imported {
                        offer,
                        own,
                        number,
                        protocol,
                        leads: scope.has_upstream(offer, own),
                    });
                }
            }
        }
        ports
    }

    fn listeners(&self) -> BTreeMap<Key, Listener> {
        let mut listeners: BTreeMap<Key, Listener> = BTreeMap::new();
        for (index, listener) in self.egress.iter().enumerate() {
            let is_last = listener.port.is_none();
            if is_last {
                listeners
                    .values_mut()
                    .for_each(|listener| listener.is_locked = true);
            }
            for port in self.ports(index) {
                if is_alias(&port) || is_reserved(listener.bind, &port) || port.protocol == Protocol::Udp {
                    continue;
                }
                for (key, network) in self.places(listener.bind, is_last, &port) {
                    let at = listeners.entry(key).or_default();
                    if at.is_locked {
                        continue;
                    }
                    let is_http = naive::is_http(port.protocol);
                    // A sniffed service at an address has routes of its own there.
                    at.has_http |= is_http || (port.protocol == Protocol::Auto && key.0.is_none());
                    if !is_http {
                        at.chains.push((network, port.leads));
                    }
                }
            }
        }
        listeners
    }

    /// Where a port of a service has listeners, and for which networks there.
    fn places(&self, bind: Bind, is_last: bool, port: &Imported<'_>) -> Vec<(Key, Option<IpNet>)> {
        let at = |address| ((address, port.number), None);
        match bind {
            // It is on the loopback, which is never captured.
            Bind::Local => return Vec::new(),
            Bind::Anywhere => return vec![at(None)],
            Bind::At(address) => return vec![at(Some(address))],
            Bind::Services if naive::is_http(port.protocol) => return vec![at(None)],
            Bind::Services => {}
        }
        match &port.offer.of {
            Of::Service(service) => match &service.kind {
                ServiceKind::ClusterIp(addresses) => addresses.iter().map(|it| at(Some(*it))).collect(),
                ServiceKind::Headless if is_last => {
                    let endpoints = self.endpoints(service, port).into_iter();
                    endpoints.map(|address| at(Some(address))).collect()
                }
                ServiceKind::Headless => vec![at(None)],
                ServiceKind::ExternalName(_) => Vec::new(),
            },
            Of::Entry(entry) => {
                let mut places = Vec::new();
                for address in naive::services(entry) {
                    match address {
                        Some(network) if naive::is_single(&network) => {
                            places.push(at(Some(network.addr().to_canonical())));
                        }
                        Some(network) => places.push(((None, port.number), Some(network))),
                        None if is_last && entry.resolution == Resolution::None => {
                            let pooled = self.pooled(port);
                            if pooled.is_empty() && entry.selector.is_none() {
                                places.push(at(None));
                            }
                            places.extend(addresses(&pooled).map(|address| at(Some(address))));
                        }
                        None => places.push(at(None)),
                    }
                }
                // With DNS capture, what istiod has allocated takes the place of no address.
                let to = |address| Destination::new(Transport::Tcp, address, port.number);
                let allocated = entry.allocated.get(&port.offer.host).into_iter().flatten();
                let allocated =
                    allocated.filter(|address| naive::is_allocated(entry, &port.offer.host, &to(**address)));
                places.extend(allocated.map(|address| at(Some(*address))));
                places
            }
        }
    }

    fn pooled(&self, port: &Imported<'_>) -> Vec<EndpointAddress> {
        naive::pool(self.world, &port.offer.meta.namespace, &port.offer.host, port.own)
    }

    /// Of a headless service: those of slices with a port of that name, and those that entries have for the host.
    fn endpoints(&self, service: &Service, port: &Imported<'_>) -> BTreeSet<IpAddr> {
        let alike = service.ports.iter().filter(|own| own.number == port.own.number);
        let names: BTreeSet<&str> = alike.map(|own| own.name.as_str()).collect();
        let mut endpoints: BTreeSet<IpAddr> = addresses(&self.pooled(port)).collect();
        for object in self.world.objects.values() {
            if let Object::EndpointSlice(slice) = object
                && slice.meta.namespace == service.meta.namespace
                && slice.service == service.meta.name
                && slice.ports.iter().any(|port| names.contains(port.name.as_str()))
            {
                endpoints.extend(&slice.addresses);
            }
        }
        endpoints
    }

    /// Whether any virtual host of a port leads to an endpoint. The first listener for the port has them all, bound or
    /// not; an HTTP proxy has the hosts of every port. What counts is the service's own protocol (`IsHTTPOrSniffed`).
    fn has_route(&self, number: u16) -> bool {
        let is_for = |listener: &EgressListener| listener.port.is_none_or(|(port, _)| port == number);
        let Some(index) = self.egress.iter().position(is_for) else {
            return false;
        };
        let ports = self.ports(index);
        ports.iter().any(|port| {
            let is_http = naive::is_http(port.own.protocol) || port.own.protocol == Protocol::Auto;
            port.number == number && is_http && port.leads && !is_alias(port)
        })
    }
}

fn addresses(endpoints: &[EndpointAddress]) -> impl Iterator<Item = IpAddr> + '_ {
    endpoints.iter().filter_map(|endpoint| match endpoint {
        EndpointAddress::Ip(address) => Some(*address),
        EndpointAddress::Host(_) | EndpointAddress::Unix(_) | EndpointAddress::Unset => None,
    })
}

/// `model.Alias`.
fn is_alias(port: &Imported<'_>) -> bool {
    matches!(port.offer.of, Of::Service(service) if matches!(service.kind, ServiceKind::ExternalName(_)))
}

/// `conflictWithReservedListener`.
fn is_reserved(bind: Bind, port: &Imported<'_>) -> bool {
    let is_common = match bind {
        Bind::Anywhere => true,
        Bind::Services => naive::is_http(port.protocol),
        Bind::At(_) | Bind::Local => false,
    };
    is_common && RESERVED.contains(&port.number)
}
