//! Entries that declare one address and port of TCP or TLS for different hosts: a proxy that has an address to go by
//! looks at nothing else, and neither do the programs. Of HTTP a proxy looks at the name.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    Conflict, Registry, Warning,
    conflicting::{OTHERS, is_tcp, overlap},
    ineffective::is_seen,
};
use crate::{istio::ServiceEntry, model::Host, objects::Owner, offer::Offer};

/// How many addresses of an entry are looked at.
const ADDRESSES: usize = 100;

/// An entry, and its ports that are told apart by nothing but the address.
struct Declared<'a> {
    offer: &'a Offer,
    entry: &'a ServiceEntry,
    ports: BTreeSet<u16>,
}

/// Adds the warnings: one for a pair, with the first that both declare.
pub(super) fn warn(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let offers = registry.states.values().flat_map(|state| &state.offers);
    let mut all: Vec<Declared<'_>> = offers.filter_map(declared).collect();
    all.sort_by_key(|declared| declared.offer.age());
    let mut by_address: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (at, younger) in all.iter().enumerate() {
        for address in single(younger.entry) {
            let others = by_address.entry(address).or_default();
            for older in others.iter().copied().filter(|older| seen.insert((at, *older))) {
                if let Some(port) = common(&all[older], younger) {
                    warnings.insert(Warning::Conflict(Conflict::SharedAddress {
                        entry: younger.offer.owner.id(),
                        other: all[older].offer.owner.id(),
                        at: SocketAddr::new(address, port),
                    }));
                    break;
                }
            }
            if others.len() < OTHERS {
                others.push(at);
            }
        }
    }
}

/// The first port of both, if a workload sees both and none of their hosts is the same.
fn common(a: &Declared<'_>, b: &Declared<'_>) -> Option<u16> {
    let has_host = |host: &Host| a.entry.hosts.contains(host);
    if !overlap(&a.offer.export, &b.offer.export) || b.entry.hosts.iter().any(has_host) {
        return None;
    }
    a.ports.intersection(&b.ports).next().copied()
}

/// Each entry that somebody sees and that declares addresses, with the first of its hosts.
fn declared(offer: &Offer) -> Option<Declared<'_>> {
    let Owner::Entry(entry) = &offer.owner else {
        return None;
    };
    let is_first = entry.hosts.first() == Some(&offer.host);
    if entry.addresses.is_empty() || !is_first || !is_seen(offer) {
        return None;
    }
    let ports = entry.ports.iter();
    let ports = ports.filter(|port| is_tcp(port.protocol) && !port.protocol.is_http());
    Some(Declared {
        offer,
        entry,
        ports: ports.map(|port| port.number).collect(),
    })
}

/// The single addresses that an entry declares; `0.0.0.0` and `::` stand for none.
fn single(entry: &ServiceEntry) -> impl Iterator<Item = IpAddr> {
    let networks = entry.addresses.iter();
    let single = networks.filter(|network| network.prefix_len() == network.max_prefix_len());
    let addresses = single.map(|network| network.addr().to_canonical());
    addresses
        .filter(|address| !address.is_unspecified())
        .take(ADDRESSES)
}
