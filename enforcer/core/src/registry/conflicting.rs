//! Entries of one namespace that have a host together, and contradict each other about it.
//!
//! ```text
//! states (each host with its offers) -> pairs of entries that somebody sees both of -> Conflict, once for each pair
//! ```
//!
//! **Architecture Invariant:** two entries that no workload sees together do not conflict.

use std::collections::{BTreeMap, BTreeSet};

use super::{Conflict, Registry, Warning, ineffective::is_seen};
use crate::{
    export::Export,
    istio::{ObjectId, ServiceEntry},
    model::{Host, Namespace, Protocol, Transport},
    objects::Owner,
    offer::{HostState, Offer},
    view::differences,
};

/// How many older entries each is held against. An author can write thousands.
pub(super) const OTHERS: usize = 20;

/// Two entries that somebody sees, and the hosts that both have.
struct Pair<'a> {
    younger: &'a ServiceEntry,
    older: &'a ServiceEntry,
    hosts: BTreeSet<Host>,
}

type Pairs<'a> = BTreeMap<(ObjectId, ObjectId), Pair<'a>>;

/// Adds the warnings.
pub(super) fn warn(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let mut pairs = Pairs::new();
    for (host, state) in registry.states.iter().filter(|(_, state)| state.offers.len() > 1) {
        add_pairs(host, state, &mut pairs);
    }
    for ((entry, other), pair) in pairs {
        warn_of(entry, other, pair, warnings);
    }
}

/// Each entry of the host with the oldest of its namespace that somebody sees beside it.
fn add_pairs<'a>(host: &Host, state: &'a HostState, pairs: &mut Pairs<'a>) {
    let mut by_namespace: BTreeMap<&Namespace, Vec<(&Offer, &ServiceEntry)>> = BTreeMap::new();
    let mut of_services = BTreeSet::new();
    for offer in state.offers.iter().filter(|offer| is_seen(offer)) {
        let namespace = offer.namespace();
        match &offer.owner {
            Owner::Entry(entry) => by_namespace.entry(namespace).or_default().push((offer, entry)),
            // Beside it, entries of the namespace do not count.
            Owner::Service(_) => drop(of_services.insert(namespace)),
        }
    }
    by_namespace.retain(|namespace, entries| entries.len() > 1 && !of_services.contains(namespace));
    for entries in by_namespace.values_mut() {
        entries.sort_by_key(|(offer, _)| offer.age());
        for (at, (offer, younger)) in entries.iter().enumerate() {
            let mut others = entries[..at].iter().take(OTHERS);
            let Some((of_older, older)) = others.find(|(other, _)| overlap(&other.export, &offer.export))
            else {
                continue;
            };
            let new = Pair {
                younger,
                older,
                hosts: BTreeSet::new(),
            };
            let pair = pairs
                .entry((offer.owner.id(), of_older.owner.id()))
                .or_insert(new);
            pair.hosts.insert(host.clone());
        }
    }
}

fn warn_of(entry: ObjectId, other: ObjectId, pair: Pair<'_>, warnings: &mut BTreeSet<Warning>) {
    let Pair {
        younger,
        older,
        hosts,
    } = pair;
    let tcp = older.ports.iter().filter(|port| is_tcp(port.protocol));
    let of_older: BTreeMap<u16, Protocol> = tcp.map(|port| (port.number, port.protocol)).collect();
    let (mut clashing, mut alone, mut is_any_common) = (BTreeSet::new(), BTreeSet::new(), false);
    for port in younger.ports.iter().filter(|port| is_tcp(port.protocol)) {
        match of_older.get(&port.number) {
            None => drop(alone.insert(port.number)),
            Some(other) => {
                is_any_common = true;
                if !is_alike(port.protocol, *other) {
                    clashing.insert(port.number);
                }
            }
        }
    }
    if !clashing.is_empty() {
        warnings.insert(Warning::Conflict(Conflict::Protocols {
            entry: entry.clone(),
            other: other.clone(),
            hosts: hosts.clone(),
            ports: clashing,
        }));
    }
    let differs = differences(older, younger);
    // Where the ports are the same, labels and exports change nothing about them.
    let is_meant_otherwise = differs.contains("resolution") || differs.contains("workloadSelector");
    if !differs.is_empty() && (!alone.is_empty() || (is_any_common && is_meant_otherwise)) {
        let is_known = older.meta.created < younger.meta.created;
        warnings.insert(Warning::Conflict(Conflict::Unmerged {
            entry,
            other,
            hosts,
            differs,
            ports: if is_known { alone } else { BTreeSet::new() },
        }));
    }
}

/// Whether a namespace sees both.
pub(super) fn overlap(a: &Export, b: &Export) -> bool {
    match (a, b) {
        (Export::Public, other) | (other, Export::Public) => !other.is_nobody(),
        (Export::To(a), Export::To(b)) => !a.is_disjoint(b),
    }
}

pub(super) fn is_tcp(protocol: Protocol) -> bool {
    protocol.transport() == Transport::Tcp
}

/// HTTPS and TLS are one to a proxy.
fn is_alike(a: Protocol, b: Protocol) -> bool {
    a == b || (a.is_tls() && b.is_tls())
}
