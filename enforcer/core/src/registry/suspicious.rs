//! Objects that allow something, but not what their author may expect: addresses to which nothing routes, selectors and
//! imports of nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{Cause, Registry, Warning, ineffective::is_seen};
use crate::{
    export::ignored,
    grant::{Facts, has_endpoint, known_addresses, selects_nothing},
    istio::{
        Bind, EgressHost, EgressListener, EgressNamespace, Kind, ObjectId, OutboundMode, Resolution,
        ServiceEntry, Sidecar,
    },
    model::{Enforcement, Namespace},
    objects::Owner,
    offer::Offer,
    view::{choose, imports, trims},
};

/// Adds warnings about entries.
pub(super) fn warn_of_entries(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let facts = registry.facts();
    for offer in registry.states.values().flat_map(|state| &state.offers) {
        // An entry is looked at with the first of its hosts.
        if let Owner::Entry(entry) = &offer.owner
            && entry.hosts.first() == Some(&offer.host)
        {
            warn_of_entry(entry, offer, (&facts, warnings));
        }
    }
}

fn warn_of_entry(
    entry: &ServiceEntry,
    offer: &Offer,
    (facts, warnings): (&Facts<'_>, &mut BTreeSet<Warning>),
) {
    if offer.ignored.is_some() {
        return;
    }
    let id = offer.owner.id();
    if !is_seen(offer) {
        warnings.insert(Warning::ExportedToNobody { entry: id });
        return;
    }
    let said = |cause| Warning::AllowsNothing {
        object: id.clone(),
        host: None,
        causes: [cause].into(),
    };
    let allows_nothing = |cause| warnings.contains(&said(cause));
    if selects_nothing(entry, facts) {
        if !allows_nothing(Cause::NothingSelected) {
            warnings.insert(Warning::SelectsNothing { entry: id.clone() });
        }
    } else if entry.resolution == Resolution::Static
        && !has_endpoint(entry, facts)
        && !allows_nothing(Cause::NothingBehind)
    {
        warnings.insert(Warning::NoEndpoints { entry: id.clone() });
    }
    for address in unreachable(entry, facts) {
        let entry = id.clone();
        warnings.insert(Warning::Unreachable { entry, address });
    }
}

/// Addresses that an entry declares, and that are none of those at which its service is known to be.
fn unreachable(entry: &ServiceEntry, facts: &Facts<'_>) -> Vec<IpAddr> {
    let single = |network: &IpNet| {
        let is_single = network.prefix_len() == network.max_prefix_len();
        is_single.then(|| network.addr().to_canonical())
    };
    let declared: Vec<_> = entry.addresses.iter().filter_map(single).collect();
    if declared.is_empty() {
        return declared;
    }
    let declared = declared.into_iter().filter(|address| !address.is_unspecified());
    if entry.resolution == Resolution::None {
        // It is sent to where the client has dialled.
        return declared.filter(|address| is_unroutable(*address)).collect();
    }
    let known = known_addresses(entry, facts);
    declared.filter(|address| !known.contains(address)).collect()
}

/// Whether no packet is routed to the address: 240.0.0.0/4, in which Istio allocates.
fn is_unroutable(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[0] >= 240 && !address.is_broadcast())
}

/// Adds a warning for each Namespace whose mode is none.
pub(super) fn warn_of_modes(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    for namespace in registry.objects.namespaces.values() {
        if let Some(value) = namespace.meta.labels.get(Enforcement::LABEL)
            && Enforcement::parse(value).is_none()
        {
            let id = ObjectId {
                kind: Kind::Namespace,
                namespace: namespace.meta.namespace.clone(),
                name: namespace.meta.name.clone(),
            };
            warnings.insert(Warning::NotAMode {
                namespace: id,
                value: value.clone(),
            });
        }
    }
}

/// Adds a warning for each object that lets workloads reach everything, although the configuration does not.
pub(super) fn warn_of_allow_any(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let (objects, settings) = (&registry.objects, &registry.settings);
    if settings.mode == OutboundMode::AllowAny {
        return;
    }
    let mesh = objects.mesh(&settings.revision);
    let workloads = registry.workloads.values();
    for workload in workloads.filter(|it| it.enforcement != Some(Enforcement::Off)) {
        let sidecar = choose(workload, objects, settings);
        let object = match sidecar.as_ref().map(|sidecar| (sidecar.mode, sidecar)) {
            Some((Some(OutboundMode::AllowAny), sidecar)) => id(sidecar),
            Some((Some(OutboundMode::RegistryOnly), _)) => continue,
            _ if mesh.mode == Some(OutboundMode::AllowAny) => ObjectId {
                kind: Kind::MeshConfig,
                namespace: mesh.meta.namespace.clone(),
                name: mesh.meta.name.clone(),
            },
            _ => continue,
        };
        warnings.insert(Warning::AllowsAny { object });
    }
}

/// Adds a warning for each namespace with gateways to which a Sidecar applies that leaves something out.
pub(super) fn warn_of_gateways(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let gateways = registry.workloads.values().filter(|workload| workload.is_gateway);
    for gateway in gateways.filter(|it| it.enforcement != Some(Enforcement::Off)) {
        let sidecar = choose(gateway, &registry.objects, &registry.settings);
        if let Some(sidecar) = sidecar.filter(|sidecar| trims(sidecar)) {
            warnings.insert(Warning::TrimsGateways {
                sidecar: id(&sidecar),
                namespace: gateway.namespace.clone(),
            });
        }
    }
}

/// Adds a warning for each host that a Sidecar imports and nobody has.
pub(super) fn warn_of_imports(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let (objects, settings) = (&registry.objects, &registry.settings);
    let mesh = objects.mesh(&settings.revision);
    let mut imports = Imports {
        registry,
        by_namespace: None,
    };
    for sidecar in objects.sidecars.values() {
        if ignored(&sidecar.meta, &settings.revision, mesh, objects).is_some() {
            continue;
        }
        let is_default = sidecar.selector.is_none() && sidecar.meta.namespace == mesh.root_namespace;
        let hosts = sidecar.egress.iter().flat_map(|listener| &listener.hosts);
        let named = hosts.filter(|host| host.imports && !is_general(host, &mesh.root_namespace));
        for host in named.collect::<BTreeSet<_>>() {
            if !imports.has(host, sidecar, is_default) {
                warnings.insert(Warning::ImportsNothing {
                    sidecar: id(sidecar),
                    host: host.clone(),
                });
            }
        }
    }
}

/// Whether it imports whatever there is, which may be nothing: `*/*`, `./*` and `istio-system/*`.
fn is_general(host: &EgressHost, root: &Namespace) -> bool {
    let is_of_all = match &host.namespace {
        EgressNamespace::Any | EgressNamespace::Own => true,
        EgressNamespace::Named(name) => name == root,
    };
    is_of_all && host.host.as_str() == "*"
}

fn id(sidecar: &Sidecar) -> ObjectId {
    ObjectId {
        kind: Kind::Sidecar,
        namespace: sidecar.meta.namespace.clone(),
        name: sidecar.meta.name.clone(),
    }
}

struct Imports<'a> {
    registry: &'a Registry,
    /// Made for the first import of more than one host.
    by_namespace: Option<BTreeMap<&'a Namespace, Vec<&'a Offer>>>,
}

impl<'a> Imports<'a> {
    /// Whether an object has a host that `host` of `sidecar` imports. `is_default`: for workloads of every namespace.
    fn has(&mut self, host: &EgressHost, sidecar: &Sidecar, is_default: bool) -> bool {
        let listener = EgressListener {
            port: None,
            hosts: vec![host.clone()],
            bind: Bind::Services,
        };
        let own = &sidecar.meta.namespace;
        let is_imported = |offer: &Offer| {
            let own = if is_default { offer.namespace() } else { own };
            let is_visible = if is_default {
                is_seen(offer)
            } else {
                offer.export.includes(own)
            };
            offer.ignored.is_none() && is_visible && imports(&listener, offer.namespace(), &offer.host, own)
        };
        let exact = self.registry.states.get(&host.host);
        if exact.is_some_and(|state| state.offers.iter().any(is_imported)) {
            return true;
        }
        if !host.host.is_wildcard() {
            return false;
        }
        let all = self.by_namespace();
        match &host.namespace {
            EgressNamespace::Named(name) => all
                .get(name)
                .is_some_and(|offers| offers.iter().any(|it| is_imported(it))),
            EgressNamespace::Own if !is_default => all
                .get(own)
                .is_some_and(|offers| offers.iter().any(|it| is_imported(it))),
            _ => all.values().flatten().any(|it| is_imported(it)),
        }
    }

    fn by_namespace(&mut self) -> &BTreeMap<&'a Namespace, Vec<&'a Offer>> {
        let registry = self.registry;
        self.by_namespace.get_or_insert_with(|| {
            let mut all = BTreeMap::<_, Vec<_>>::new();
            for offer in registry.states.values().flat_map(|state| &state.offers) {
                all.entry(offer.namespace()).or_default().push(offer);
            }
            all
        })
    }
}
