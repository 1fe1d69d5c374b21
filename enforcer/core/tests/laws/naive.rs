//! What a workload may reach, worked out the slow way: for one workload and one destination, over all objects.
//!
//! It follows the decision table and the rules of visibility, Sidecars and conflicts one by one, each rule a function.
//! It keeps nothing, indexes nothing and shares no code with the registry: it knows only the objects and the words.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use enforcer_core::{
    istio::{
        EgressHost, EgressListener, EgressNamespace, Endpoint, EndpointAddress, ExportTo, Kind,
        LabelExpression, LabelOperator, LabelSelector, MeshConfig, Meta, Object, ObjectId, OutboundMode,
        Resolution, Service, ServiceEntry, ServiceKind, ServicePort, Sidecar, Visibility,
    },
    model::{
        CgroupId, Destination, Enforcement, Host, Labels, Namespace, Protocol, Transport, Verdict, Workload,
    },
    registry::Update,
    settings::{Matching, Settings, UdpPolicy},
};
use ipnet::IpNet;

/// Everything that is there.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) objects: BTreeMap<ObjectId, Object>,
    pub(crate) resolved: BTreeMap<Host, BTreeSet<IpAddr>>,
    pub(crate) workloads: BTreeMap<CgroupId, Workload>,
    pub(crate) given: Vec<Given>,
}

/// An address that a workload was given for a name.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) to: CgroupId,
    pub(crate) address: IpAddr,
    pub(crate) name: Host,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            objects: BTreeMap::new(),
            resolved: BTreeMap::new(),
            workloads: BTreeMap::new(),
            given: Vec::new(),
        }
    }

    /// For one workload: the names that it was given resolve to what it was given.
    pub(crate) fn seen_by(&self, workload: CgroupId) -> Self {
        let mut seen = self.clone();
        let counts = |given: &&Given| self.settings.learns && given.to == workload;
        for given in self.given.iter().filter(counts) {
            let addresses = seen.resolved.entry(given.name.clone()).or_default();
            addresses.insert(given.address);
        }
        seen
    }

    /// Takes in a change: what came last counts.
    pub(crate) fn apply(&mut self, update: Update) {
        match update {
            Update::Apply(object) => drop(self.objects.insert(object.id(), object)),
            Update::Delete(id) => drop(self.objects.remove(&id)),
            Update::Resolved { host, addresses } => drop(self.resolved.insert(host, addresses)),
            Update::Workload(cgroup, workload) => drop(self.workloads.insert(cgroup, workload)),
            Update::WorkloadGone(cgroup) => drop(self.workloads.remove(&cgroup)),
        }
    }

    /// Changes that lead from nothing to this.
    pub(crate) fn updates(&self) -> Vec<Update> {
        let objects = self.objects.values().cloned().map(Update::Apply);
        let resolved = self.resolved.iter().map(|(host, addresses)| Update::Resolved {
            host: host.clone(),
            addresses: addresses.clone(),
        });
        let workloads = self.workloads.iter();
        let workloads = workloads.map(|(cgroup, workload)| Update::Workload(*cgroup, workload.clone()));
        objects.chain(resolved).chain(workloads).collect()
    }
}

/// The verdict on `to` for `workload`.
pub(crate) fn verdict(world: &World, workload: &Workload, to: &Destination) -> Verdict {
    if is_own_network(to.address)
        || workload.own.contains(to.address)
        || is_allowed_to_everybody(world, to)
        || (workload.asks_node && is_of_node(world, to))
        || is_registered(world, workload, to)
    {
        return Verdict::Allow;
    }
    let audit = match workload.enforcement {
        Some(Enforcement::Off) => return Verdict::Allow,
        Some(enforcement) => enforcement == Enforcement::Audit,
        None => world.settings.audit,
    };
    match mode(world, workload) {
        OutboundMode::AllowAny => Verdict::Allow,
        OutboundMode::RegistryOnly if audit => Verdict::Audit,
        OutboundMode::RegistryOnly => Verdict::Deny,
    }
}

/// Section 3, capture: loopback is never captured; the unspecified address is loopback to Linux.
fn is_own_network(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// Section 5 and the configuration: trusted resolvers, and UDP where all of it is allowed.
fn is_allowed_to_everybody(world: &World, to: &Destination) -> bool {
    let is_resolver = to.port == 53 && world.settings.resolvers.contains(&to.address);
    let trusted = SocketAddr::new(to.address, to.port);
    is_resolver
        || world.settings.trusted.contains(&trusted)
        || is_built_in(world, to)
        || (to.transport == Transport::Udp && world.settings.udp == UdpPolicy::Allow)
}

/// The resolvers of the node.
fn is_of_node(world: &World, to: &Destination) -> bool {
    let of_node = &world.settings.of_node;
    of_node.contains(&SocketAddr::new(to.address, to.port))
}

/// At the cluster addresses of the Service, and at those that are given.
fn is_built_in(world: &World, to: &Destination) -> bool {
    world.settings.allowances.iter().any(|allowance| {
        let (namespace, name) = &allowance.service;
        let of_service = world.objects.values().any(|object| match object {
            Object::Service(service) => {
                (&service.meta.namespace, &service.meta.name) == (namespace, name)
                    && matches!(&service.kind, ServiceKind::ClusterIp(cluster) if cluster.contains(&to.address))
            }
            _ => false,
        });
        let is_there = of_service || allowance.addresses.contains(&to.address);
        is_there && allowance.ports.contains(&(to.transport, to.port))
    })
}

/// Section 3, mode: a Sidecar's policy replaces the mesh's in both directions.
fn mode(world: &World, workload: &Workload) -> OutboundMode {
    if let Some(mode) = sidecar(world, workload).and_then(|sidecar| sidecar.mode) {
        return mode;
    }
    mesh(world).mode.unwrap_or(world.settings.mode)
}

/// There is one at most in these worlds.
fn mesh(world: &World) -> MeshConfig {
    for object in world.objects.values() {
        if let Object::MeshConfig(mesh) = object {
            return MeshConfig::clone(mesh);
        }
    }
    MeshConfig::default()
}

// Section 3, config filters.

fn is_of_this_revision(world: &World, meta: &Meta) -> bool {
    match meta.labels.get("istio.io/rev") {
        Some(revision) => world.settings.revision.is_empty() || *revision == world.settings.revision,
        None => true,
    }
}

fn is_discovered(world: &World, namespace: &Namespace) -> bool {
    let selectors = mesh(world).discovery_selectors;
    selectors.is_empty()
        || selectors
            .iter()
            .any(|selector| fits(selector, &labels_of(world, namespace)))
}

fn labels_of(world: &World, namespace: &Namespace) -> Labels {
    let mut labels = Labels::new();
    for object in world.objects.values() {
        if let Object::Namespace(object) = object
            && object.meta.name == namespace.as_str()
        {
            labels = object.meta.labels.clone();
        }
    }
    labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_string());
    labels
}

fn fits(selector: &LabelSelector, labels: &Labels) -> bool {
    is_subset(&selector.labels, labels)
        && selector
            .expressions
            .iter()
            .all(|expression| holds(expression, labels))
}

fn holds(expression: &LabelExpression, labels: &Labels) -> bool {
    match (&expression.operator, labels.get(&expression.key)) {
        (LabelOperator::In(values), Some(value)) => values.contains(value),
        (LabelOperator::NotIn(values), Some(value)) => !values.contains(value),
        (LabelOperator::Exists, value) => value.is_some(),
        (LabelOperator::DoesNotExist, value) => value.is_none(),
        (LabelOperator::In(_), None) => false,
        (LabelOperator::NotIn(_), None) => true,
    }
}

fn is_subset(selector: &Labels, labels: &Labels) -> bool {
    for (key, value) in selector {
        if labels.get(key) != Some(value) {
            return false;
        }
    }
    true
}

// Section 3, Sidecar selection: exactly one, never merged.

fn sidecar(world: &World, workload: &Workload) -> Option<Sidecar> {
    let own = &workload.namespace;
    let root = &mesh(world).root_namespace;
    let with_selector = |sidecar: &Sidecar| match &sidecar.selector {
        Some(selector) => is_subset(selector, &workload.labels),
        None => false,
    };
    let without_selector = |sidecar: &Sidecar| sidecar.selector.is_none();
    oldest_sidecar(world, own, with_selector)
        .or_else(|| oldest_sidecar(world, own, without_selector))
        .or_else(|| oldest_sidecar(world, root, without_selector))
}

fn oldest_sidecar(
    world: &World,
    namespace: &Namespace,
    is_meant: impl Fn(&Sidecar) -> bool,
) -> Option<Sidecar> {
    let mut found: Option<Sidecar> = None;
    for object in world.objects.values() {
        let Object::Sidecar(sidecar) = object else {
            continue;
        };
        let counts =
            is_of_this_revision(world, &sidecar.meta) && is_discovered(world, &sidecar.meta.namespace);
        if !counts || sidecar.meta.namespace != *namespace || !is_meant(sidecar) {
            continue;
        }
        let age = |sidecar: &Sidecar| (sidecar.meta.created, sidecar.meta.name.clone());
        if found.as_ref().is_none_or(|found| age(sidecar) < age(found)) {
            found = Some(Sidecar::clone(sidecar));
        }
    }
    found
}

/// The listeners of the workload's Sidecar; no `egress`, and no Sidecar, is `*/*`.
fn listeners(world: &World, workload: &Workload) -> Vec<EgressListener> {
    let written = sidecar(world, workload).map(|sidecar| sidecar.egress);
    match written {
        Some(egress) if !egress.is_empty() => egress,
        _ => vec![EgressListener {
            port: None,
            hosts: vec![EgressHost {
                imports: true,
                namespace: EgressNamespace::Any,
                host: Host::new("*"),
            }],
            is_bound: false,
        }],
    }
}

/// Whether a host of a namespace is imported: an exclusion wins over any import.
fn is_imported(listener: &EgressListener, namespace: &Namespace, host: &Host, workload: &Workload) -> bool {
    let mentions = |pattern: &&EgressHost| {
        let is_there = match &pattern.namespace {
            EgressNamespace::Any => true,
            EgressNamespace::Own => *namespace == workload.namespace,
            EgressNamespace::Named(name) => namespace == name,
        };
        is_there && is_under(host, &pattern.host)
    };
    let mut excluded = listener.hosts.iter().filter(|pattern| !pattern.imports);
    let mut imported = listener.hosts.iter().filter(|pattern| pattern.imports);
    excluded.all(|pattern| !mentions(&pattern)) && imported.any(|pattern| mentions(&pattern))
}

/// A suffix of any depth, never the apex; a wildcard is not under a name.
fn is_under(host: &Host, pattern: &Host) -> bool {
    let (host, pattern) = (host.as_str(), pattern.as_str());
    match pattern.strip_prefix('*') {
        None => host == pattern,
        Some("") => true,
        Some(suffix) => host == pattern || (host.ends_with(suffix) && host.len() > suffix.len()),
    }
}

/// A listener with a port is for that port alone, and owns it: a later listener does not get it. A listener speaks
/// for one transport. A bound one captures nothing: applications dial the listener itself.
fn serves(listeners: &[EgressListener], index: usize, to: &Destination) -> bool {
    let is_for = |listener: &EgressListener| match listener.port {
        Some((number, protocol)) => number == to.port && transport(protocol) == to.transport,
        None => false,
    };
    for earlier in &listeners[..index] {
        if !earlier.is_bound && is_for(earlier) {
            return false;
        }
    }
    let listener = &listeners[index];
    !listener.is_bound && (listener.port.is_none() || is_for(listener))
}

fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        _ => Transport::Tcp,
    }
}

/// A Service, or one host of a ServiceEntry.
struct Offer<'a> {
    meta: &'a Meta,
    host: Host,
    ports: &'a [ServicePort],
    of: Of<'a>,
}

enum Of<'a> {
    Service(&'a Service),
    Entry(&'a ServiceEntry),
}

/// Everything that is offered and not ignored. `istio.io/rev` is a matter of Istio's own objects.
fn offers(world: &World) -> Vec<Offer<'_>> {
    let mut offers = Vec::new();
    for object in world.objects.values() {
        match object {
            Object::Service(service) if is_discovered(world, &service.meta.namespace) => {
                let Meta { name, namespace, .. } = &service.meta;
                let domain = &world.settings.cluster_domain;
                offers.push(Offer {
                    meta: &service.meta,
                    host: Host::new(&format!("{name}.{namespace}.svc.{domain}")),
                    ports: &service.ports,
                    of: Of::Service(service),
                });
            }
            Object::ServiceEntry(entry)
                if is_of_this_revision(world, &entry.meta) && is_discovered(world, &entry.meta.namespace) =>
            {
                for host in &entry.hosts {
                    offers.push(Offer {
                        meta: &entry.meta,
                        host: host.clone(),
                        ports: &entry.ports,
                        of: Of::Entry(entry),
                    });
                }
            }
            _ => {}
        }
    }
    offers
}

/// How an offer comes to be visible.
#[derive(PartialEq)]
enum Seen {
    ByName,
    AsPublic,
    Never,
}

/// Section 3, exportTo, `defaultServiceExportTo` and `serviceEntryVisibility`.
fn seen(world: &World, offer: &Offer<'_>, workload: &Workload) -> Seen {
    let own = &offer.meta.namespace;
    let written = match offer.of {
        Of::Service(service) => &service.export_to,
        Of::Entry(entry) => &entry.export_to,
    };
    let default = mesh(world).default_export_to;
    let export_to = if written.is_empty() { &default } else { written };
    let names = |namespace: &Namespace| {
        export_to.iter().any(|to| match to {
            ExportTo::Own => namespace == own,
            ExportTo::Namespace(name) => namespace == name,
            ExportTo::Everyone | ExportTo::Nobody => false,
        })
    };
    let is_public = export_to.contains(&ExportTo::Everyone);
    let is_hidden = !is_public && export_to.contains(&ExportTo::Nobody);
    let reaches = |namespace: &Namespace| is_public || (!is_hidden && names(namespace));
    let bound = match offer.of {
        Of::Service(_) => Visibility::Public,
        Of::Entry(_) => bound(world, own),
    };
    match bound {
        Visibility::None => Seen::Never,
        Visibility::Namespace if workload.namespace == *own && reaches(own) => Seen::ByName,
        Visibility::Namespace => Seen::Never,
        Visibility::Public if is_public => Seen::AsPublic,
        Visibility::Public if reaches(&workload.namespace) => Seen::ByName,
        Visibility::Public => Seen::Never,
    }
}

/// Whether the object offers anything that `workload` sees, whatever its Sidecar imports.
pub(crate) fn is_seen(world: &World, id: &ObjectId, workload: &Workload) -> bool {
    let kind = |offer: &Offer<'_>| match offer.of {
        Of::Service(_) => Kind::Service,
        Of::Entry(_) => Kind::ServiceEntry,
    };
    offers(world).iter().any(|offer| {
        let key = (kind(offer), &offer.meta.namespace, &offer.meta.name);
        key == (id.kind, &id.namespace, &id.name) && seen(world, offer, workload) != Seen::Never
    })
}

/// Whether anybody that is not ignored offers a name.
pub(crate) fn is_offered(world: &World, name: &Host) -> bool {
    offers(world).iter().any(|offer| is_under(name, &offer.host))
}

/// The first policy that fits the namespace; sidecars look at it only where the mesh says so.
fn bound(world: &World, namespace: &Namespace) -> Visibility {
    let Some(visibility) = mesh(world).visibility else {
        return Visibility::Public;
    };
    if visibility.apply_to_sidecars {
        for (selector, visibility) in visibility.policies {
            if fits(&selector, &labels_of(world, namespace)) {
                return visibility;
            }
        }
    }
    Visibility::Public
}

/// Section 2: whether any listener has a service that accepts the destination.
fn is_registered(world: &World, workload: &Workload, to: &Destination) -> bool {
    let offers = offers(world);
    let hosts: BTreeSet<&Host> = offers.iter().map(|offer| &offer.host).collect();
    let listeners = listeners(world, workload);
    for index in 0..listeners.len() {
        if !serves(&listeners, index, to) {
            continue;
        }
        for host in &hosts {
            for offer in winners(world, workload, &listeners[index], of_host(&offers, host)) {
                for port in offer.ports {
                    if port.number != to.port || transport(port.protocol) != to.transport {
                        continue;
                    }
                    let protocol = match listeners[index].port {
                        Some((_, protocol)) => protocol,
                        None => port.protocol,
                    };
                    if accepts(world, offer, protocol, to) {
                        return true;
                    }
                }
            }
        }
    }
    false
}

fn of_host<'a>(offers: &'a [Offer<'a>], host: &Host) -> Vec<&'a Offer<'a>> {
    offers.iter().filter(|offer| offer.host == *host).collect()
}

/// Section 4: the namespace that wins a host among what a listener imports, and what it offers of it.
fn winners<'a>(
    world: &World,
    workload: &Workload,
    listener: &EgressListener,
    offers: Vec<&'a Offer<'a>>,
) -> Vec<&'a Offer<'a>> {
    let mut candidates = Vec::new();
    for offer in offers {
        let has_port = match listener.port {
            None => true,
            Some((number, protocol)) => offer
                .ports
                .iter()
                .any(|port| port.number == number && transport(port.protocol) == transport(protocol)),
        };
        if has_port
            && seen(world, offer, workload) != Seen::Never
            && is_imported(listener, &offer.meta.namespace, &offer.host, workload)
        {
            candidates.push(offer);
        }
    }
    let is_service = |offer: &Offer<'_>| matches!(offer.of, Of::Service(_));
    let by_age = |a: &&&Offer<'_>, b: &&&Offer<'_>| {
        (a.meta.created, &a.meta.namespace).cmp(&(b.meta.created, &b.meta.namespace))
    };
    let of_own = candidates
        .iter()
        .find(|offer| offer.meta.namespace == workload.namespace);
    let service = candidates.iter().find(|offer| is_service(offer));
    let named = candidates
        .iter()
        .filter(|offer| seen(world, offer, workload) == Seen::ByName);
    let oldest_named = named.min_by(by_age);
    let oldest = candidates.iter().min_by(by_age);
    let Some(winner) = of_own.or(service).or(oldest_named).or(oldest) else {
        return candidates;
    };
    let namespace = &winner.meta.namespace;
    let mut winners: Vec<_> = candidates
        .iter()
        .copied()
        .filter(|offer| offer.meta.namespace == *namespace)
        .collect();
    if winners.iter().any(|offer| is_service(offer)) {
        // The host of a Service is the Service's; entries only decorate it.
        winners.retain(|offer| is_service(offer));
    }
    winners
}

/// Whether a port of an offer accepts the address; the port's number is already the one dialled.
fn accepts(world: &World, offer: &Offer<'_>, protocol: Protocol, to: &Destination) -> bool {
    if to.transport == Transport::Udp && world.settings.udp != UdpPolicy::Registry {
        // D16.
        return false;
    }
    if is_http(protocol) && [15001, 15006, 15021, 15090].contains(&to.port) {
        // Section 4: the proxy has listeners of its own there, and skips HTTP ports of services.
        return false;
    }
    let asked = Asked {
        host: &offer.host,
        protocol,
        to,
    };
    match offer.of {
        Of::Service(service) => service_accepts(world, service, protocol, to),
        Of::Entry(entry) if world.settings.matching == Matching::Declared => intent(world, entry, &asked),
        Of::Entry(entry) => parity(world, entry, &asked),
    }
}

pub(crate) fn is_http(protocol: Protocol) -> bool {
    use Protocol::{Grpc, GrpcWeb, Http, Http2, HttpProxy};
    [Http, Http2, Grpc, GrpcWeb, HttpProxy].contains(&protocol)
}

fn is_tls(protocol: Protocol) -> bool {
    [Protocol::Tls, Protocol::Https].contains(&protocol)
}

/// Section 6.
fn service_accepts(world: &World, service: &Service, protocol: Protocol, to: &Destination) -> bool {
    let is_anywhere = world.settings.matching == Matching::Istio && is_http(protocol);
    match &service.kind {
        ServiceKind::ExternalName(_) => false,
        ServiceKind::ClusterIp(_) | ServiceKind::Headless if is_anywhere => true,
        ServiceKind::ClusterIp(addresses) => addresses.contains(&to.address),
        ServiceKind::Headless => world.objects.values().any(|object| match object {
            Object::EndpointSlice(slice) => {
                slice.meta.namespace == service.meta.namespace
                    && slice.service == service.meta.name
                    && slice.addresses.contains(&to.address)
            }
            _ => false,
        }),
    }
}

/// One service for each address (`convertServices`); none is the service without an address, and so is `0.0.0.0`.
fn services(entry: &ServiceEntry) -> Vec<Option<IpNet>> {
    if entry.addresses.is_empty() {
        return vec![None];
    }
    let is_none = |network: &IpNet| network.addr().to_canonical().is_unspecified() && is_single(network);
    entry
        .addresses
        .iter()
        .map(|network| (!is_none(network)).then_some(*network))
        .collect()
}

/// An IPv4-mapped network is the IPv4 network; any other IPv6 network holds no IPv4 address.
fn is_within(network: &IpNet, to: &Destination) -> bool {
    match (network, to.address) {
        (IpNet::V6(network), IpAddr::V4(address)) => {
            network.prefix_len() >= 96 && network.contains(&address.to_ipv6_mapped())
        }
        _ => network.contains(&to.address),
    }
}

fn is_single(network: &IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

/// What is asked of a port of an entry, under the protocol that counts.
struct Asked<'a> {
    host: &'a Host,
    protocol: Protocol,
    to: &'a Destination,
}

/// The INTENT column.
fn intent(world: &World, entry: &ServiceEntry, asked: &Asked<'_>) -> bool {
    let Asked { host, protocol, to } = *asked;
    let is_socket = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
    if !entry.endpoints.is_empty() && entry.endpoints.iter().all(is_socket) {
        // D17.
        return false;
    }
    if is_allocated(entry, host, to) {
        return true;
    }
    let resolved = || resolves(world, host, to);
    let upstream = || resolves(world, host, to) || is_endpoint(world, entry, to);
    let selected = || is_selected(world, entry, to);
    let is_none = entry.resolution == Resolution::None;
    let has_selector = entry.selector.is_some();
    services(entry).into_iter().any(|address| match address {
        // D1, and no row of a selector: D15 is for TCP, TLS and unset.
        Some(network) if is_http(protocol) && is_none => is_within(&network, to),
        None if is_http(protocol) && is_none => resolved(),
        // D2, D3, D4, D15b.
        Some(network) if is_http(protocol) => is_within(&network, to) || upstream(),
        None if is_http(protocol) => upstream(),
        // D7, D8, D11, D12, D14.
        Some(network) => is_within(&network, to),
        // D15.
        None if is_none && has_selector => selected(),
        // D5.
        None if is_none && is_tls(protocol) => resolved(),
        // D9, D13.
        None if is_none => true,
        // D4, D6, D10, D13, D15b.
        None => upstream(),
    })
}

/// The PARITY column.
fn parity(world: &World, entry: &ServiceEntry, asked: &Asked<'_>) -> bool {
    let Asked { host, protocol, to } = *asked;
    if is_http(protocol) || is_allocated(entry, host, to) {
        // D1-D4; section 5.
        return true;
    }
    services(entry).into_iter().any(|address| match address {
        // D14.
        Some(network) if protocol == Protocol::Auto && !is_single(&network) => true,
        // D7, D8, D11, D12, D14.
        Some(network) => is_within(&network, to),
        // D15.
        None if entry.resolution == Resolution::None && entry.selector.is_some() => {
            is_selected(world, entry, to)
        }
        // D4-D6, D9, D10, D13, D15b.
        None => true,
    })
}

/// Section 5: `status.addresses`.
fn is_allocated(entry: &ServiceEntry, host: &Host, to: &Destination) -> bool {
    entry
        .allocated
        .get(host)
        .is_some_and(|addresses| addresses.contains(&to.address))
}

/// Res(x): of a wildcard, the names seen under it.
fn resolves(world: &World, host: &Host, to: &Destination) -> bool {
    world
        .resolved
        .iter()
        .any(|(name, addresses)| is_under(name, host) && addresses.contains(&to.address))
}

/// The upstream's addresses: endpoints, or what the selector chooses in their place.
fn is_endpoint(world: &World, entry: &ServiceEntry, to: &Destination) -> bool {
    let is_at = |endpoint: &Endpoint| match &endpoint.address {
        EndpointAddress::Ip(address) => *address == to.address,
        EndpointAddress::Host(name) => resolves(world, name, to),
        EndpointAddress::Unix(_) | EndpointAddress::Unset => false,
    };
    entry.endpoints.iter().any(is_at) || is_selected(world, entry, to)
}

/// Section 1, workloadSelector: Pods and healthy WorkloadEntries of the same namespace; those at a name count only
/// where names are resolved.
fn is_selected(world: &World, entry: &ServiceEntry, to: &Destination) -> bool {
    let Some(selector) = &entry.selector else {
        return false;
    };
    let resolves_names = !matches!(entry.resolution, Resolution::None | Resolution::Static);
    world.objects.values().any(|object| match object {
        Object::Pod(pod) => {
            pod.meta.namespace == entry.meta.namespace
                && is_subset(selector, &pod.meta.labels)
                && pod.addresses.contains(&to.address)
        }
        Object::WorkloadEntry(of) => {
            let mut labels = of.meta.labels.clone();
            labels.extend(of.endpoint.labels.clone());
            of.meta.namespace == entry.meta.namespace
                && of.healthy
                && is_of_this_revision(world, &of.meta)
                && is_subset(selector, &labels)
                && match &of.endpoint.address {
                    EndpointAddress::Ip(address) => *address == to.address,
                    EndpointAddress::Host(name) => resolves_names && resolves(world, name, to),
                    EndpointAddress::Unix(_) | EndpointAddress::Unset => false,
                }
        }
        _ => false,
    })
}
