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
        Bind, EgressHost, EgressListener, EgressNamespace, Endpoint, EndpointAddress, ExportTo, Kind,
        LabelExpression, LabelOperator, LabelSelector, MeshConfig, Meta, Object, ObjectId, OutboundMode,
        PodPhase, Resolution, Service, ServiceEntry, ServiceKind, ServicePort, Sidecar, Visibility,
    },
    model::{
        CgroupId, Destination, Enforcement, Host, Labels, Namespace, Protocol, Transport, Verdict, Workload,
    },
    registry::Update,
    settings::{Matching, Settings, UdpPolicy},
};
use ipnet::IpNet;

use crate::proxy;

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
        || (workload.has_proxy && proxy::dials(world, workload, to))
    {
        return Verdict::Allow;
    }
    let labels = labels_of(world, &workload.namespace);
    let of_namespace = match labels.get("enforcer.dev/mode").map(String::as_str) {
        Some("off") => Some(Enforcement::Off),
        Some("audit") => Some(Enforcement::Audit),
        // Also what is no mode.
        Some(_) => Some(Enforcement::Enforce),
        None => None,
    };
    let audit = match workload.enforcement.or(of_namespace) {
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

pub(crate) fn is_of_this_revision(world: &World, meta: &Meta) -> bool {
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

pub(crate) fn is_subset(selector: &Labels, labels: &Labels) -> bool {
    for (key, value) in selector {
        if labels.get(key) != Some(value) {
            return false;
        }
    }
    true
}

// Section 3, Sidecar selection: exactly one, never merged.

pub(crate) fn sidecar(world: &World, workload: &Workload) -> Option<Sidecar> {
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
pub(crate) fn listeners(world: &World, workload: &Workload) -> Vec<EgressListener> {
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
            bind: Bind::Services,
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

/// Section 4: the proxy has listeners of its own there, at `0.0.0.0`.
const RESERVED: [u16; 4] = [15001, 15006, 15021, 15090];

/// How a listener takes connections to one port.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// At what each service declares.
    Services,
    /// The same, on a listener with a port, which has none for each endpoint.
    Together,
    /// The same, where an earlier listener owns what is common to the port.
    Beside,
    /// Whatever the address.
    Anywhere,
    /// At the destination's address, whatever the services'.
    There,
}

/// A listener owns (bind, port): the common one of a port, `0.0.0.0`, or one address. Under `istio` it does not matter
/// who owns the common one: its owner accepts any address as the others would.
fn way(world: &World, listeners: &[EgressListener], index: usize, to: &Destination) -> Option<Way> {
    let is_for = |listener: &EgressListener| match listener.port {
        Some((number, protocol)) => number == to.port && transport(protocol) == to.transport,
        None => false,
    };
    let is_common = |listener: &EgressListener| matches!(listener.bind, Bind::Services | Bind::Anywhere);
    let is_parity = world.settings.matching == Matching::Istio;
    let listener = &listeners[index];
    if listener.port.is_some() && !is_for(listener) {
        return None;
    }
    let is_owned = listeners[..index]
        .iter()
        .any(|earlier| is_for(earlier) && is_common(earlier));
    match listener.bind {
        Bind::Local => None,
        Bind::Anywhere if RESERVED.contains(&to.port) => None,
        Bind::At(address) => (address == to.address).then_some(Way::There),
        Bind::Anywhere if is_parity => Some(Way::Anywhere),
        Bind::Services | Bind::Anywhere if is_owned && !is_parity => Some(Way::Beside),
        Bind::Services | Bind::Anywhere if listener.port.is_some() => Some(Way::Together),
        Bind::Services | Bind::Anywhere => Some(Way::Services),
    }
}

pub(crate) fn transport(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Udp => Transport::Udp,
        _ => Transport::Tcp,
    }
}

/// A Service, or one host of a ServiceEntry.
pub(crate) struct Offer<'a> {
    pub(crate) meta: &'a Meta,
    pub(crate) host: Host,
    pub(crate) ports: &'a [ServicePort],
    pub(crate) of: Of<'a>,
}

pub(crate) enum Of<'a> {
    Service(&'a Service),
    Entry(&'a ServiceEntry),
}

/// Everything that is offered and not ignored. `istio.io/rev` is a matter of Istio's own objects.
pub(crate) fn offers(world: &World) -> Vec<Offer<'_>> {
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

/// Whether an object of Istio's is not ignored.
pub(crate) fn counts(world: &World, object: &Object) -> bool {
    match object {
        Object::Sidecar(sidecar) => {
            is_of_this_revision(world, &sidecar.meta) && is_discovered(world, &sidecar.meta.namespace)
        }
        Object::ServiceEntry(entry) => {
            is_of_this_revision(world, &entry.meta) && is_discovered(world, &entry.meta.namespace)
        }
        _ => true,
    }
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
    hosts.into_iter().any(|host| {
        let imported: Vec<_> = listeners
            .iter()
            .map(|listener| winners(world, workload, listener, of_host(&offers, host)))
            .collect();
        (0..listeners.len()).any(|index| {
            let scope = Scope {
                world,
                listeners: &listeners,
                imported: &imported,
            };
            imported[index].iter().any(|offer| {
                let mut ports = offer.ports.iter();
                ports.any(|port| serves(&scope, index, (offer, port), to))
            })
        })
    })
}

/// Whether a listener accepts the destination for a port of what it imports.
pub(crate) fn serves(
    scope: &Scope<'_>,
    index: usize,
    (offer, port): (&Offer<'_>, &ServicePort),
    to: &Destination,
) -> bool {
    let (world, listener) = (scope.world, &scope.listeners[index]);
    let Some(way) = way(world, scope.listeners, index, to) else {
        return false;
    };
    let Some(protocol) = protocol_behind(world, (listener, way), port, to) else {
        return false;
    };
    (scope.has_upstream(offer, port) || takes_requests(world, offer, (protocol, way)))
        && accepts(world, offer, (protocol, way), to)
}

/// Whether a port with nothing behind it still makes a listener that takes HTTP for every service of the port: those of
/// HTTP always do, and sniffed ones on the common listener (`buildSidecarOutboundHTTPListenerOpts`, `rdsName`).
fn takes_requests(world: &World, offer: &Offer<'_>, (protocol, way): (Protocol, Way)) -> bool {
    let is_common = match &offer.of {
        Of::Service(_) => true,
        Of::Entry(entry) => match way {
            Way::There => false,
            Way::Anywhere => true,
            Way::Services | Way::Together | Way::Beside => {
                let is_passed = entry.resolution == Resolution::None && entry.selector.is_some();
                let mut services = services(entry).into_iter();
                services.any(|address| match address {
                    Some(network) => !is_single(&network),
                    None => !is_passed || way == Way::Together,
                })
            }
        },
    };
    world.settings.matching == Matching::Istio
        && (is_http(protocol) || (protocol == Protocol::Auto && is_common))
}

/// The protocol of a port of a service on a listener that is for the destination. An HTTP proxy has every port of its
/// services behind its own (`needsPortMatch`); of such a one that no client of the services dials, `declared` has no
/// more than of others.
fn protocol_behind(
    world: &World,
    (listener, way): (&EgressListener, Way),
    port: &ServicePort,
    to: &Destination,
) -> Option<Protocol> {
    let is_dialled = port.number == to.port && transport(port.protocol) == to.transport;
    match listener.port {
        None => is_dialled.then_some(port.protocol),
        Some((_, Protocol::HttpProxy)) => {
            let is_proxy = world.settings.matching == Matching::Istio || way == Way::There;
            let is_tcp = transport(port.protocol) == Transport::Tcp;
            (is_dialled || (is_proxy && is_tcp)).then_some(Protocol::HttpProxy)
        }
        Some((_, protocol)) => is_dialled.then_some(protocol),
    }
}

/// What the listeners of a workload import of one host.
pub(crate) struct Scope<'a> {
    pub(crate) world: &'a World,
    pub(crate) listeners: &'a [EgressListener],
    pub(crate) imported: &'a [Vec<&'a Offer<'a>>],
}

impl Scope<'_> {
    /// What every listener imports, each with its ports that are left there (`serviceMatchingListenerPort`).
    fn parts(&self) -> impl Iterator<Item = (usize, &Offer<'_>, Vec<&ServicePort>)> {
        let each = self.imported.iter().enumerate();
        let each = each.flat_map(|(index, offers)| offers.iter().map(move |offer| (index, *offer)));
        each.map(|(index, offer)| {
            let is_left = |port: &&ServicePort| is_on(&self.listeners[index], port);
            (index, offer, offer.ports.iter().filter(is_left).collect())
        })
    }

    /// Section 4: whether anything stands behind a port. A host has one cluster for each port of the service that
    /// comes first in the scope, and of those that can be merged with it (`appendSidecarServices`).
    pub(crate) fn has_upstream(&self, offer: &Offer<'_>, port: &ServicePort) -> bool {
        // Nothing stands between a client and a UDP port.
        if matches!(offer.of, Of::Service(_)) || port.protocol == Protocol::Udp {
            return true;
        }
        let is_same = |other: &&ServicePort| {
            other.number == port.number && transport(other.protocol) == transport(port.protocol)
        };
        let is_service = |offer: &Offer<'_>| matches!(offer.of, Of::Service(_));
        if let Some((..)) = self.parts().find(|(_, offer, _)| is_service(offer)) {
            return self
                .parts()
                .any(|(_, offer, ports)| is_service(offer) && ports.iter().any(is_same));
        }
        let oldest = self
            .parts()
            .map(|(index, offer, _)| (index, offer.meta.created))
            .min();
        // Several of one age come in any order.
        let firsts = self
            .parts()
            .filter(|(index, offer, _)| Some((*index, offer.meta.created)) == oldest);
        firsts.into_iter().any(|(_, first, _)| {
            let merged = self.parts().filter(|(_, other, _)| is_merged(first, other));
            merged.into_iter().any(|(_, _, ports)| ports.iter().any(is_same))
                && has_endpoint(self.world, first, port)
        })
    }
}

pub(crate) fn is_on(listener: &EgressListener, port: &ServicePort) -> bool {
    match listener.port {
        None => true,
        Some((_, Protocol::HttpProxy)) => transport(port.protocol) == Transport::Tcp,
        Some((number, protocol)) => port.number == number && transport(port.protocol) == transport(protocol),
    }
}

/// `canMergeServices`.
fn is_merged(first: &Offer<'_>, other: &Offer<'_>) -> bool {
    let (Of::Entry(a), Of::Entry(b)) = (&first.of, &other.of) else {
        return false;
    };
    let set = |entry: &ServiceEntry| entry.export_to.iter().cloned().collect::<BTreeSet<_>>();
    let selector = |entry: &ServiceEntry| entry.selector.clone().unwrap_or_default();
    a.meta.namespace == b.meta.namespace
        && a.resolution == b.resolution
        && a.label_sum == b.label_sum
        && selector(a) == selector(b)
        && set(a) == set(b)
}

/// Whether the cluster of a port can have an endpoint: one that is not resolved has as many as there are addresses.
fn has_endpoint(world: &World, first: &Offer<'_>, port: &ServicePort) -> bool {
    match &first.of {
        Of::Service(_) => true,
        Of::Entry(entry) => match entry.resolution {
            Resolution::None | Resolution::DynamicDns => true,
            Resolution::Static | Resolution::Dns | Resolution::DnsRoundRobin => {
                !pool(world, &first.meta.namespace, &first.host, port).is_empty()
            }
        },
    }
}

/// The endpoints of a port of a host, from all entries of one namespace (`mergeServicesInstancesByNamespaceHost`).
pub(crate) fn pool(
    world: &World,
    namespace: &Namespace,
    host: &Host,
    port: &ServicePort,
) -> Vec<EndpointAddress> {
    let mut pool = Vec::new();
    for offer in offers(world) {
        let has_port = offer
            .ports
            .iter()
            .any(|of| of.number == port.number && transport(of.protocol) == transport(port.protocol));
        if let Of::Entry(entry) = offer.of
            && offer.meta.namespace == *namespace
            && offer.host == *host
            && has_port
        {
            pool.extend(instances(world, entry, host));
        }
    }
    pool
}

/// `convertServiceEntryToInstances`, `services`.
fn instances(world: &World, entry: &ServiceEntry, host: &Host) -> Vec<EndpointAddress> {
    let is_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    if entry.selector.is_some() {
        return selected(world, entry);
    }
    if is_dns && entry.endpoints.is_empty() {
        return vec![EndpointAddress::Host(host.clone())];
    }
    entry
        .endpoints
        .iter()
        .map(|endpoint| endpoint.address.clone())
        .collect()
}

pub(crate) fn of_host<'a>(offers: &'a [Offer<'a>], host: &Host) -> Vec<&'a Offer<'a>> {
    offers.iter().filter(|offer| offer.host == *host).collect()
}

/// Section 4: the namespace that wins a host among what a listener imports, and what it offers of it.
pub(crate) fn winners<'a>(
    world: &World,
    workload: &Workload,
    listener: &EgressListener,
    offers: Vec<&'a Offer<'a>>,
) -> Vec<&'a Offer<'a>> {
    let mut candidates = Vec::new();
    for offer in offers {
        // `needsPortMatch`.
        let needs_port = !matches!(listener.port, None | Some((_, Protocol::HttpProxy)));
        let has_port = !needs_port || offer.ports.iter().any(|port| is_on(listener, port));
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
fn accepts(world: &World, offer: &Offer<'_>, (protocol, way): (Protocol, Way), to: &Destination) -> bool {
    if to.transport == Transport::Udp && world.settings.udp != UdpPolicy::Registry {
        // D16.
        return false;
    }
    if is_http(protocol) && way != Way::There && RESERVED.contains(&to.port) {
        return false;
    }
    let asked = Asked {
        host: &offer.host,
        protocol,
        way,
        to,
    };
    match (way, &offer.of) {
        // `model.Alias`: section 6.
        (_, Of::Service(service)) if matches!(service.kind, ServiceKind::ExternalName(_)) => false,
        (Way::There | Way::Anywhere, _) => true,
        (Way::Beside, _) if is_http(protocol) => false,
        (_, Of::Service(service)) => service_accepts(world, service, &asked),
        (_, Of::Entry(entry)) if world.settings.matching == Matching::Declared => {
            intent(world, entry, &asked)
        }
        (_, Of::Entry(entry)) => parity(world, entry, &asked),
    }
}

pub(crate) fn is_http(protocol: Protocol) -> bool {
    use Protocol::{Grpc, GrpcWeb, Http, Http2, HttpProxy};
    [Http, Http2, Grpc, GrpcWeb, HttpProxy].contains(&protocol)
}

fn is_tls(protocol: Protocol) -> bool {
    [Protocol::Tls, Protocol::Https].contains(&protocol)
}

/// Section 6. A listener with a port has none for each endpoint of a headless service: it takes any address.
fn service_accepts(world: &World, service: &Service, asked: &Asked<'_>) -> bool {
    let is_parity = world.settings.matching == Matching::Istio;
    let is_anywhere = is_parity && is_http(asked.protocol);
    match &service.kind {
        ServiceKind::ExternalName(_) => false,
        ServiceKind::ClusterIp(_) | ServiceKind::Headless if is_anywhere => true,
        ServiceKind::ClusterIp(addresses) => addresses.contains(&asked.to.address),
        ServiceKind::Headless if is_parity && asked.way == Way::Together => true,
        ServiceKind::Headless => {
            // By name, as `CopyEndpoints`; several ports may have one number.
            let ports: Vec<_> = service
                .ports
                .iter()
                .filter(|port| port.number == asked.to.port)
                .collect();
            let is_named = |name: &str| ports.iter().any(|port| port.name == name);
            let in_slice = world.objects.values().any(|object| match object {
                Object::EndpointSlice(slice) => {
                    slice.meta.namespace == service.meta.namespace
                        && slice.service == service.meta.name
                        && slice.addresses.contains(&asked.to.address)
                        && slice.ports.iter().any(|port| is_named(&port.name))
                }
                _ => false,
            });
            in_slice || is_pooled(world, &service.meta.namespace, asked)
        }
    }
}

/// Whether the destination is an endpoint of any entry of the host.
fn is_pooled(world: &World, namespace: &Namespace, asked: &Asked<'_>) -> bool {
    let port = ServicePort {
        number: asked.to.port,
        name: String::new(),
        protocol: if asked.to.transport == Transport::Udp {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
        target: None,
    };
    pool(world, namespace, asked.host, &port).contains(&EndpointAddress::Ip(asked.to.address))
}

/// One service for each address (`convertServices`); none is the service without an address, and so is `0.0.0.0`.
pub(crate) fn services(entry: &ServiceEntry) -> Vec<Option<IpNet>> {
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
pub(crate) fn is_within(network: &IpNet, to: &Destination) -> bool {
    match (network, to.address) {
        (IpNet::V6(network), IpAddr::V4(address)) => {
            network.prefix_len() >= 96 && network.contains(&address.to_ipv6_mapped())
        }
        _ => network.contains(&to.address),
    }
}

pub(crate) fn is_single(network: &IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

/// What is asked of a port of an entry, under the protocol that counts.
struct Asked<'a> {
    host: &'a Host,
    protocol: Protocol,
    way: Way,
    to: &'a Destination,
}

/// The INTENT column.
fn intent(world: &World, entry: &ServiceEntry, asked: &Asked<'_>) -> bool {
    let Asked {
        host, protocol, to, ..
    } = *asked;
    let is_socket = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
    if !entry.endpoints.is_empty() && entry.endpoints.iter().all(is_socket) {
        // D17.
        return false;
    }
    if is_allocated(entry, host, to) {
        return true;
    }
    if asked.way == Way::Beside {
        return is_beside(world, entry, asked);
    }
    let resolved = || resolves(world, host, to);
    let upstream = || resolves(world, host, to) || is_endpoint(world, entry, to);
    let selected = || is_pooled(world, &entry.meta.namespace, asked);
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

/// What an entry has at addresses of its own, or of its endpoints where each has a listener.
fn is_beside(world: &World, entry: &ServiceEntry, asked: &Asked<'_>) -> bool {
    let is_passed = entry.resolution == Resolution::None && entry.selector.is_some();
    services(entry).into_iter().any(|address| match address {
        Some(network) => is_single(&network) && is_within(&network, asked.to),
        None => is_passed && is_pooled(world, &entry.meta.namespace, asked),
    })
}

/// The PARITY column.
fn parity(world: &World, entry: &ServiceEntry, asked: &Asked<'_>) -> bool {
    let Asked {
        host, protocol, to, ..
    } = *asked;
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
            asked.way == Way::Together || is_pooled(world, &entry.meta.namespace, asked)
        }
        // D4-D6, D9, D10, D13, D15b.
        None => true,
    })
}

/// Section 5: `status.addresses`, where istiod allocates (`shouldV2AutoAllocateIPFromPieces`).
pub(crate) fn is_allocated(entry: &ServiceEntry, host: &Host, to: &Destination) -> bool {
    let counts = entry.resolution != Resolution::None && entry.addresses.is_empty() && !entry.opts_out;
    let allocated = entry.allocated.get(host);
    counts && allocated.is_some_and(|addresses| addresses.contains(&to.address))
}

/// Res(x): of a wildcard, the names seen under it.
pub(crate) fn resolves(world: &World, host: &Host, to: &Destination) -> bool {
    world
        .resolved
        .iter()
        .any(|(name, addresses)| is_under(name, host) && addresses.contains(&to.address))
}

/// The upstream's addresses: endpoints, or what the selector chooses in their place.
fn is_endpoint(world: &World, entry: &ServiceEntry, to: &Destination) -> bool {
    let is_at = |address: &EndpointAddress| match address {
        EndpointAddress::Ip(address) => *address == to.address,
        EndpointAddress::Host(name) => resolves(world, name, to),
        EndpointAddress::Unix(_) | EndpointAddress::Unset => false,
    };
    let chosen = if entry.selector.is_some() {
        selected(world, entry)
    } else {
        Vec::new()
    };
    let endpoints = entry.endpoints.iter().map(|endpoint| &endpoint.address);
    endpoints.chain(&chosen).any(is_at)
}

/// Section 1, workloadSelector: ready Pods and healthy WorkloadEntries of the same namespace; those at a name or a
/// socket count only where names are resolved. Labels of the metadata come first (`ConvertWorkloadEntry`).
fn selected(world: &World, entry: &ServiceEntry) -> Vec<EndpointAddress> {
    let Some(selector) = &entry.selector else {
        return Vec::new();
    };
    let is_dns = matches!(entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin);
    let mut selected = Vec::new();
    for object in world.objects.values() {
        match object {
            Object::Pod(pod) => {
                let is_there = pod.is_ready && !matches!(pod.phase, PodPhase::Ending | PodPhase::Ended);
                if pod.meta.namespace == entry.meta.namespace
                    && is_there
                    && is_subset(selector, &pod.meta.labels)
                {
                    selected.extend(pod.addresses.iter().copied().map(EndpointAddress::Ip));
                }
            }
            Object::WorkloadEntry(of) => {
                let mut labels = of.endpoint.labels.clone();
                labels.extend(of.meta.labels.clone());
                let address = &of.endpoint.address;
                let is_plain = matches!(address, EndpointAddress::Ip(_) | EndpointAddress::Unset);
                if of.meta.namespace == entry.meta.namespace
                    && of.healthy
                    && is_of_this_revision(world, &of.meta)
                    && is_subset(selector, &labels)
                    && (is_plain || is_dns)
                {
                    selected.push(address.clone());
                }
            }
            _ => {}
        }
    }
    selected
}
