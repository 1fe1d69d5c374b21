//! Objects that are right by themselves and not together: entries of one host or address, and exports to nowhere.
//!
//! ```text
//! states (each host with its offers) -> pairs that somebody sees both of -> Conflict
//! ```
//!
//! **Architecture Invariant:** two objects that no workload sees together do not conflict, and a namespace that has a
//! host of its own is meant to have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{Cause, Conflict, Registry, Warning, ineffective::is_seen};
use crate::{
    export::Export,
    istio::{ObjectId, ServiceEntry},
    model::{Host, Namespace, Protocol, Transport},
    objects::Owner,
    offer::{HostState, Offer},
    view::{differences, winners},
};

/// How many namespaces that exports name are looked at for one host. An author can write thousands.
const CLIENTS: usize = 100;

/// Pairs of objects, and what they have in common: hosts, and what else a warning names.
type Pairs<T> = BTreeMap<(ObjectId, ObjectId), (BTreeSet<Host>, BTreeSet<T>)>;

/// What is found of all hosts, before it is said once for each pair.
#[derive(Default)]
struct Found {
    displaced: Pairs<Namespace>,
    protocols: Pairs<u16>,
    /// With the fields in which they differ.
    unmerged: BTreeMap<(ObjectId, ObjectId), (BTreeSet<&'static str>, BTreeSet<Host>, BTreeSet<u16>)>,
}

/// Adds warnings about objects that have one host.
pub(super) fn warn_of_hosts(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let mut found = Found::default();
    let said = said_to_be_displaced(warnings);
    for (host, state) in registry.states.iter().filter(|(_, state)| state.offers.len() > 1) {
        found.add_displaced(host, state, &said);
        found.add_pairs(host, state);
    }
    let Found {
        displaced,
        protocols,
        unmerged,
    } = found;
    let displaced = displaced
        .into_iter()
        .map(|((loser, winner), (hosts, namespaces))| Conflict::Displaced {
            loser,
            winner,
            hosts,
            namespaces,
        });
    let protocols = protocols
        .into_iter()
        .map(|((entry, other), (hosts, ports))| Conflict::Protocols {
            entry,
            other,
            hosts,
            ports,
        });
    let unmerged = unmerged
        .into_iter()
        .map(|((entry, other), (differs, hosts, ports))| Conflict::Unmerged {
            entry,
            other,
            hosts,
            differs,
            ports,
        });
    warnings.extend(displaced.chain(protocols).chain(unmerged).map(Warning::Conflict));
}

/// What other warnings say: an object does not count, all of it or one host, anywhere or beside one other.
type Said = BTreeSet<(ObjectId, Option<Host>, Option<ObjectId>)>;

fn said_to_be_displaced(warnings: &BTreeSet<Warning>) -> Said {
    let said = warnings.iter().filter_map(|warning| match warning {
        Warning::Displaced { host, winner, loser } => {
            Some((loser.clone(), Some(host.clone()), Some(winner.clone())))
        }
        Warning::AllowsNothing { object, host, causes } => {
            let mut causes = causes.iter();
            let is_displaced = causes.any(|cause| matches!(cause, Cause::Displaced(_)));
            is_displaced.then(|| (object.clone(), host.clone(), None))
        }
        _ => None,
    });
    said.collect()
}

impl Found {
    /// The namespaces that an export names, and in which another namespace's object has the host.
    fn add_displaced(&mut self, host: &Host, state: &HostState, said: &Said) {
        let seen: Vec<&Offer> = state.offers.iter().filter(|offer| is_seen(offer)).collect();
        let named: BTreeSet<&Namespace> = seen.iter().flat_map(|offer| offer.export.named()).collect();
        for client in named.into_iter().take(CLIENTS) {
            let visible = seen.iter().copied().filter(|offer| offer.export.includes(client));
            let visible: Vec<&Offer> = visible.collect();
            let winners = winners(visible.clone(), client);
            let Some(winner) = winners.first().filter(|winner| winner.namespace() != client) else {
                continue;
            };
            for loser in visible
                .iter()
                .filter(|offer| offer.namespace() != winner.namespace())
            {
                let (winner, loser) = (winner.owner.id(), loser.owner.id());
                let is_said = |by| said.contains(&(loser.clone(), Some(host.clone()), by));
                let as_a_whole = said.contains(&(loser.clone(), None, None));
                if !as_a_whole && !is_said(None) && !is_said(Some(winner.clone())) {
                    let (hosts, namespaces) = self.displaced.entry((loser, winner)).or_default();
                    hosts.insert(host.clone());
                    namespaces.insert(client.clone());
                }
            }
        }
    }

    /// Entries of one namespace, each with the oldest that somebody sees beside it.
    fn add_pairs(&mut self, host: &Host, state: &HostState) {
        let mut by_namespace: BTreeMap<&Namespace, Vec<(&Offer, &ServiceEntry)>> = BTreeMap::new();
        let mut of_services = BTreeSet::new();
        for offer in state.offers.iter().filter(|offer| is_seen(offer)) {
            match &offer.owner {
                Owner::Entry(entry) => by_namespace
                    .entry(offer.namespace())
                    .or_default()
                    .push((offer, entry)),
                // Beside it, entries of the namespace do not count.
                Owner::Service(_) => drop(of_services.insert(offer.namespace())),
            }
        }
        by_namespace.retain(|namespace, entries| entries.len() > 1 && !of_services.contains(namespace));
        for entries in by_namespace.values_mut() {
            entries.sort_by_key(|(offer, _)| offer.age());
            for (at, younger) in entries.iter().enumerate() {
                let older = entries[..at]
                    .iter()
                    .find(|older| overlap(&older.0.export, &younger.0.export));
                if let Some(older) = older {
                    self.add_pair(host, (older.0, older.1), (younger.0, younger.1));
                }
            }
        }
    }

    fn add_pair(&mut self, host: &Host, older: (&Offer, &ServiceEntry), younger: (&Offer, &ServiceEntry)) {
        let pair = (younger.0.owner.id(), older.0.owner.id());
        let of_older = |number: u16| {
            let mut ports = older.1.ports.iter();
            ports.find(|port| port.number == number && is_tcp(port.protocol))
        };
        let tcp = younger.1.ports.iter().filter(|port| is_tcp(port.protocol));
        let (mut clashing, mut alone) = (BTreeSet::new(), BTreeSet::new());
        let mut shares_any = false;
        for port in tcp {
            match of_older(port.number) {
                None => drop(alone.insert(port.number)),
                Some(other) => {
                    shares_any = true;
                    if !is_alike(port.protocol, other.protocol) {
                        clashing.insert(port.number);
                    }
                }
            }
        }
        if !clashing.is_empty() {
            let (hosts, ports) = self.protocols.entry(pair.clone()).or_default();
            hosts.insert(host.clone());
            ports.extend(clashing);
        }
        let differs = differences(older.1, younger.1);
        let changes_meaning = differs.contains("resolution") || differs.contains("workloadSelector");
        if !differs.is_empty() && (!alone.is_empty() || (shares_any && changes_meaning)) {
            let (fields, hosts, ports) = self.unmerged.entry(pair).or_default();
            fields.extend(differs);
            hosts.insert(host.clone());
            if older.1.meta.created < younger.1.meta.created {
                ports.extend(alone);
            }
        }
    }
}

/// Whether a namespace sees both.
fn overlap(a: &Export, b: &Export) -> bool {
    match (a, b) {
        (Export::Public, other) | (other, Export::Public) => !other.is_nobody(),
        (Export::To(a), Export::To(b)) => !a.is_disjoint(b),
    }
}

fn is_tcp(protocol: Protocol) -> bool {
    protocol.transport() == Transport::Tcp
}

/// HTTPS and TLS are one to a proxy.
fn is_alike(a: Protocol, b: Protocol) -> bool {
    a == b || (a.is_tls() && b.is_tls())
}

/// Adds warnings about entries that declare an address and port of TCP or TLS for different hosts: a proxy that has an
/// address to go by looks at nothing else. Of HTTP it looks at the name.
pub(super) fn warn_of_addresses(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let mut oldest: BTreeMap<SocketAddr, Vec<&Offer>> = BTreeMap::new();
    let mut offers: Vec<_> = entries(registry).collect();
    offers.sort_by_key(|(offer, _)| offer.age());
    let mut said = BTreeSet::new();
    for (offer, entry) in offers {
        let ports = entry.ports.iter();
        let ports = ports.filter(|port| is_tcp(port.protocol) && !port.protocol.is_http());
        let numbers: Vec<u16> = ports.map(|port| port.number).collect();
        for address in single(entry) {
            for at in numbers.iter().map(|number| SocketAddr::new(address, *number)) {
                let known = oldest.entry(at).or_default();
                let other = known.iter().find(|other| overlap(&other.export, &offer.export));
                let Some(other) = other else {
                    known.push(offer);
                    continue;
                };
                let has_host =
                    |host: &Host| matches!(&other.owner, Owner::Entry(other) if other.hosts.contains(host));
                let pair = (offer.owner.id(), other.owner.id());
                if !entry.hosts.iter().any(has_host) && said.insert(pair.clone()) {
                    let (entry, other) = pair;
                    warnings.insert(Warning::Conflict(Conflict::SharedAddress { entry, other, at }));
                }
            }
        }
    }
}

/// Each entry that somebody sees, with the first of its hosts.
fn entries(registry: &Registry) -> impl Iterator<Item = (&Offer, &ServiceEntry)> {
    let offers = registry.states.values().flat_map(|state| &state.offers);
    offers.filter_map(|offer| match &offer.owner {
        Owner::Entry(entry) if is_seen(offer) && entry.hosts.first() == Some(&offer.host) => {
            Some((offer, &**entry))
        }
        _ => None,
    })
}

/// The single addresses that an entry declares; `0.0.0.0` and `::` stand for none.
fn single(entry: &ServiceEntry) -> impl Iterator<Item = IpAddr> {
    let networks = entry.addresses.iter();
    let single = networks.filter(|network| network.prefix_len() == network.max_prefix_len());
    let addresses = single.map(|network| network.addr().to_canonical());
    addresses.filter(|address| !address.is_unspecified())
}

/// Adds warnings about exports to namespaces that do not exist. Where no Namespace is known, nobody can say so; one in
/// which any object or workload is exists.
pub(super) fn warn_of_exports(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let objects = &registry.objects;
    if objects.namespaces.is_empty() {
        return;
    }
    let mut known = objects.inhabited();
    known.extend(
        registry
            .workloads
            .values()
            .map(|workload| workload.namespace.as_str()),
    );
    let mut found: BTreeMap<ObjectId, BTreeSet<Namespace>> = BTreeMap::new();
    for offer in registry.states.values().flat_map(|state| &state.offers) {
        let nowhere = offer
            .export
            .named()
            .filter(|namespace| !known.contains(namespace.as_str()));
        let nowhere: BTreeSet<Namespace> = nowhere.cloned().collect();
        if offer.ignored.is_none() && !nowhere.is_empty() {
            found.insert(offer.owner.id(), nowhere);
        }
    }
    warnings.extend(
        found.into_iter().map(|(object, namespaces)| {
            Warning::Conflict(Conflict::ExportedToNowhere { object, namespaces })
        }),
    );
}
