//! An offer is one host of one object: what Istio calls a service.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    export::{Export, Ignored, export, ignored, ignored_namespace},
    grant::{
        Facts, Pooled, Port, PortGrants, Related, Served, Way, behind, endpoints, grants, grants_on,
        has_endpoint, is_passed_on, is_reserved, own_endpoints, related,
    },
    istio::{MeshConfig, ServicePort},
    model::{Host, Labels, Namespace, Protocol, Transport, selects},
    objects::{Key, Objects, Owner, OwnerKey, in_namespace},
    settings::{Matching, Settings},
};

/// One host of one object, with everything that does not depend on the view.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) owner: Owner,
    pub(crate) host: Host,
    pub(crate) export: Export,
    pub(crate) ignored: Option<Ignored>,
    /// Whether it has an endpoint for the host's ports.
    pub(crate) has_endpoint: bool,
    /// What each of the owner's ports grants under its own protocol.
    pub(crate) grants: Vec<PortGrants>,
    /// The endpoints that other entries of its namespace have for the host, if the proxy looks there for addresses.
    pooled: Arc<[Pooled]>,
}

/// A port that is visible in a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Import<'a> {
    pub(crate) offer: &'a Offer,
    /// Index into the owner's ports.
    pub(crate) port: usize,
    /// The port that clients dial: its own, or that of a Sidecar's HTTP proxy.
    pub(crate) number: u16,
    /// The port's own protocol, or the one that a Sidecar's listener gives it.
    pub(crate) protocol: Protocol,
    /// How the listener takes connections to it.
    pub(crate) way: Way,
    /// Whether anything can be behind it.
    pub(crate) leads: bool,
}

/// An offer as one listener of a view imports it, with the ports that are left there.
#[derive(Debug)]
pub(crate) struct Imported<'a> {
    pub(crate) offer: &'a Offer,
    pub(crate) ports: Vec<Import<'a>>,
}

/// The state of one host; it depends only on the objects.
#[derive(Debug, Default)]
pub(crate) struct HostState {
    /// By namespace, Services first, by name.
    pub(crate) offers: Vec<Offer>,
    /// The addresses and names of the host, for any port.
    pub(crate) related: Related,
    /// Addresses that only a proxy dials for it, in order.
    pub(crate) behind: Vec<IpAddr>,
    /// Whether every view without a trimming Sidecar has the same rules for it.
    pub(crate) is_common: bool,
}

impl Offer {
    fn new(owner: Owner, host: &Host, mesh: &MeshConfig, facts: &Facts<'_>) -> Self {
        let objects = facts.objects;
        Self {
            has_endpoint: match &owner {
                Owner::Entry(entry) => has_endpoint(entry, facts),
                Owner::Service(_) => true,
            },
            pooled: Arc::default(),
            export: export(&owner, mesh, objects),
            ignored: match &owner {
                Owner::Entry(entry) => ignored(&entry.meta, &facts.settings.revision, mesh, objects),
                Owner::Service(service) => ignored_namespace(&service.meta.namespace, mesh, objects),
            },
            grants: Vec::new(),
            host: host.clone(),
            owner,
        }
    }

    /// Computes what its ports grant, once `others`, which offer the same host, are known.
    fn work_out(&mut self, others: Arc<[Pooled]>, facts: &Facts<'_>) {
        self.pooled = others;
        let grants_of = |port: &ServicePort| grants(self.served(), own(port), facts);
        self.grants = self.owner.ports().iter().map(grants_of).collect();
    }

    fn served(&self) -> Served<'_> {
        Served {
            owner: &self.owner,
            host: &self.host,
            pooled: &self.pooled,
        }
    }

    /// The namespace of the object.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.owner.meta().namespace
    }

    /// All of its ports, with their own protocols.
    pub(crate) fn imports(&self) -> impl Iterator<Item = Import<'_>> {
        self.owner.ports().iter().enumerate().map(|(port, of)| Import {
            offer: self,
            port,
            number: of.number,
            protocol: of.protocol,
            way: Way::PLAIN,
            leads: true,
        })
    }

    /// How Istio sorts services of one host: by age (`creationTimestamp`; none is oldest), namespace, name.
    pub(crate) fn age(&self) -> (Option<i64>, &Namespace, &str) {
        let meta = self.owner.meta();
        (meta.created, &meta.namespace, &meta.name)
    }
}

impl Import<'_> {
    /// What the port grants with its effective number and protocol, on its listener.
    pub(crate) fn grants(&self, facts: &Facts<'_>) -> Cow<'_, PortGrants> {
        let offer = self.offer;
        let own = own(&offer.owner.ports()[self.port]);
        let port = Port {
            number: self.number,
            protocol: self.protocol,
        };
        let grants = grants_on(self.way, (offer.served(), port), facts, || {
            if own == port {
                Cow::Borrowed(&offer.grants[self.port])
            } else if own.number == port.number || facts.settings.matching == Matching::Istio {
                Cow::Owned(grants(offer.served(), port, facts))
            } else {
                // Behind an HTTP proxy, nothing declares that a service is reached on the proxy's port.
                Cow::Owned(PortGrants::default())
            }
        });
        if self.leads {
            grants
        } else {
            Cow::Owned(grants.into_owned().of_listener(port, facts))
        }
    }

    /// What stands behind the port, also if a proxy that has been told would dial none of it. The endpoints that other
    /// entries have for the host are in [`HostState::pooled`].
    pub(crate) fn behind(&self, facts: &Facts<'_>) -> PortGrants {
        let port = &self.offer.owner.ports()[self.port];
        let dialled = self.grants(facts).into_owned();
        behind(self.offer.served(), (port, self.protocol), dialled, facts)
    }
}

fn own(port: &ServicePort) -> Port {
    Port {
        number: port.number,
        protocol: port.protocol,
    }
}

impl HostState {
    /// What `owners` offer of `host`.
    pub(crate) fn new(host: &Host, owners: &[OwnerKey], facts: &Facts<'_>) -> Self {
        let objects = facts.objects;
        let mesh = objects.mesh(&facts.settings.revision);
        let owners = owners.iter().filter_map(|key| match key {
            OwnerKey::Service(key) => objects.services.get(key).cloned().map(Owner::Service),
            OwnerKey::Entry(key) => objects.entries.get(key).cloned().map(Owner::Entry),
        });
        let mut offers: Vec<_> = owners.map(|owner| Offer::new(owner, host, mesh, facts)).collect();
        offers.shrink_to_fit();
        let passed_on = offers.iter().filter(|offer| is_passed_on(&offer.owner));
        let namespaces: BTreeSet<Namespace> = passed_on.map(|it| it.namespace().clone()).collect();
        let pools: BTreeMap<Namespace, Arc<[Pooled]>> = namespaces
            .into_iter()
            .map(|namespace| (namespace.clone(), pooled(&offers, &namespace, facts)))
            .collect();
        for offer in &mut offers {
            let pool = pools
                .get(offer.namespace())
                .filter(|_| is_passed_on(&offer.owner));
            offer.work_out(pool.cloned().unwrap_or_default(), facts);
        }
        let mut all = Related::default();
        let mut behind = BTreeSet::new();
        for offer in &offers {
            let of_offer = related(&offer.owner, host, facts);
            all.to.extend(of_offer.to);
            all.names.extend(of_offer.names);
            behind.extend(endpoints(&offer.owner, facts));
        }
        all.sort();
        Self {
            is_common: is_common(&offers),
            offers,
            related: all,
            behind: behind.into_iter().collect(),
        }
    }
}

impl HostState {
    /// What stands behind ports of the host because other entries of the namespace have endpoints for it, whoever sees
    /// these: Istio keeps one set for a host and namespace (`mergeServicesInstancesByNamespaceHost`, and `EndpointIndex`
    /// for a Service beside them). Each with the entry that has it, once for all `imports`.
    pub(crate) fn pooled(&self, imports: &[Import<'_>], facts: &Facts<'_>) -> Vec<(Import<'_>, PortGrants)> {
        if self.offers.len() < 2 {
            return Vec::new();
        }
        let mut ports: BTreeMap<(&Namespace, u16), Protocol> = BTreeMap::new();
        for import in imports {
            let port = &import.offer.owner.ports()[import.port];
            let is_tcp = import.protocol.transport() == Transport::Tcp;
            if is_tcp && !is_reserved(port.number, import.protocol) {
                ports.insert((import.offer.namespace(), port.number), import.protocol);
            }
        }
        let mut pooled = Vec::new();
        let entries = self.offers.iter();
        for other in entries.filter(|other| other.ignored.is_none() && !other.owner.is_service()) {
            let tcp = other
                .imports()
                .filter(|import| import.protocol.transport() == Transport::Tcp);
            for import in tcp {
                if let Some(protocol) = ports.get(&(other.namespace(), import.number)) {
                    let of = (&other.owner.ports()[import.port], *protocol);
                    let grants = behind(other.served(), of, PortGrants::default(), facts);
                    pooled.push((import, grants));
                }
            }
        }
        pooled
    }
}

/// The endpoints that entries of a namespace have for the host (`mergeServicesInstancesByNamespaceHost`). Who sees them
/// does not matter. Few hosts have several entries in one namespace.
fn pooled(offers: &[Offer], namespace: &Namespace, facts: &Facts<'_>) -> Arc<[Pooled]> {
    let others = offers.iter();
    let others = others.filter(|other| other.ignored.is_none() && other.namespace() == namespace);
    let mut pooled = BTreeSet::new();
    for other in others {
        let Owner::Entry(entry) = &other.owner else {
            continue;
        };
        for address in own_endpoints(entry, facts) {
            pooled.extend(entry.ports.iter().map(|port| Pooled {
                number: port.number,
                transport: port.protocol.transport(),
                address,
            }));
        }
    }
    pooled.into_iter().collect()
}

/// A host is common if all of its visible offers are public and of one namespace: then the client's namespace
/// cannot change which one wins. That does not depend on which workloads exist, so that a pod that starts or ends
/// moves no rule into or out of the shared set.
fn is_common(offers: &[Offer]) -> bool {
    let mut seen = offers
        .iter()
        .filter(|offer| offer.ignored.is_none() && !offer.export.is_nobody());
    let Some(first) = seen.next() else {
        return true;
    };
    first.export == Export::Public
        && seen.all(|offer| offer.export == Export::Public && offer.namespace() == first.namespace())
}

/// Which owners offer each host, in their order. Most hosts have one owner, and a tree node for one owner would be
/// ten times too large.
#[derive(Debug, Default)]
pub(crate) struct Owners(BTreeMap<Host, Vec<OwnerKey>>);

impl Owners {
    pub(crate) fn add(&mut self, host: Host, owner: OwnerKey) {
        let owners = self.0.entry(host).or_default();
        if let Err(at) = owners.binary_search(&owner) {
            owners.reserve_exact(1);
            owners.insert(at, owner);
        }
    }

    pub(crate) fn remove(&mut self, host: &Host, owner: &OwnerKey) {
        if let Some(owners) = self.0.get_mut(host) {
            if let Ok(at) = owners.binary_search(owner) {
                owners.remove(at);
            }
            if owners.is_empty() {
                self.0.remove(host);
            }
        }
    }

    /// Those of one host; none if nobody offers it.
    pub(crate) fn of(&self, host: &Host) -> &[OwnerKey] {
        self.0.get(host).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.0.keys()
    }

    /// The wildcards that cover `name`.
    pub(crate) fn wildcards_over(&self, name: &Host) -> Vec<Host> {
        let name = name.as_str();
        let suffixes = name.char_indices().skip(1).map(|(at, _)| &name[at..]);
        suffixes
            .filter_map(|suffix| self.0.get_key_value(format!("*{suffix}").as_str()))
            .map(|(host, _)| host.clone())
            .collect()
    }
}

/// The host name of a Service.
pub(crate) fn service_host(key: &Key, settings: &Settings) -> Host {
    Host::new(&format!(
        "{}.{}.svc.{}",
        key.name, key.namespace, settings.cluster_domain
    ))
}

/// The Services of a namespace that choose WorkloadEntries by `labels`.
pub(crate) fn served_by<'a>(
    objects: &'a Objects,
    namespace: &'a Namespace,
    labels: &'a Labels,
) -> impl Iterator<Item = Key> {
    in_namespace(&objects.services, namespace)
        .filter(|service| !service.selector.is_empty() && selects(&service.selector, labels))
        .map(|service| Key::new(&service.meta.namespace, &service.meta.name))
}

/// Which entries of a namespace choose workloads by `labels`, and the hosts they offer.
pub(crate) fn selecting<'a>(
    objects: &'a Objects,
    namespace: &'a Namespace,
    labels: &'a Labels,
) -> impl Iterator<Item = &'a Host> {
    in_namespace(&objects.entries, namespace)
        .filter(|entry| {
            let selector = entry.selector.as_ref();
            selector.is_some_and(|selector| selects(selector, labels))
        })
        .flat_map(|entry| &entry.hosts)
}
