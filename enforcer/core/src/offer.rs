//! An offer is one host of one object: what Istio calls a service.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    export::{Export, Ignored, export, ignored, ignored_namespace},
    grant::{Facts, Port, PortGrants, Related, behind, endpoints, grants, related},
    istio::{MeshConfig, ServicePort},
    model::{Host, Labels, Namespace, Protocol, selects},
    objects::{Key, Objects, Owner, OwnerKey, in_namespace},
    settings::Settings,
};

/// One host of one object, with everything that does not depend on the view.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) owner: Owner,
    pub(crate) host: Host,
    pub(crate) export: Export,
    pub(crate) ignored: Option<Ignored>,
    /// What each of the owner's ports grants under its own protocol.
    pub(crate) grants: Vec<PortGrants>,
}

/// A port that is visible in a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Import<'a> {
    pub(crate) offer: &'a Offer,
    /// Index into the owner's ports.
    pub(crate) port: usize,
    /// The port's own protocol, or the one that a Sidecar's listener gives it.
    pub(crate) protocol: Protocol,
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
        let grants_of = |port: &ServicePort| {
            let port = Port {
                number: port.number,
                protocol: port.protocol,
            };
            grants(&owner, host, port, facts)
        };
        Self {
            export: export(&owner, mesh, objects),
            ignored: match &owner {
                Owner::Entry(entry) => ignored(&entry.meta, &facts.settings.revision, mesh, objects),
                Owner::Service(service) => ignored_namespace(&service.meta.namespace, mesh, objects),
            },
            grants: owner.ports().iter().map(grants_of).collect(),
            host: host.clone(),
            owner,
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
            protocol: of.protocol,
        })
    }

    /// How Istio sorts services of one host: by age (`creationTimestamp`; none is oldest), namespace, name.
    pub(crate) fn age(&self) -> (Option<i64>, &Namespace, &str) {
        let meta = self.owner.meta();
        (meta.created, &meta.namespace, &meta.name)
    }
}

impl Import<'_> {
    /// What the port grants with its effective protocol.
    pub(crate) fn grants(&self, facts: &Facts<'_>) -> Cow<'_, PortGrants> {
        let port = &self.offer.owner.ports()[self.port];
        if port.protocol == self.protocol {
            return Cow::Borrowed(&self.offer.grants[self.port]);
        }
        let port = Port {
            number: port.number,
            protocol: self.protocol,
        };
        Cow::Owned(grants(&self.offer.owner, &self.offer.host, port, facts))
    }

    /// What stands behind the port.
    pub(crate) fn behind(&self, facts: &Facts<'_>) -> PortGrants {
        let port = &self.offer.owner.ports()[self.port];
        behind(&self.offer.owner, &self.offer.host, (port, self.protocol), facts)
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
