//! Which registered hosts an address is related to: for messages and near misses, never for a verdict.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    net::IpAddr,
};

use enforcer_common::HostId;
use ipnet::IpNet;

use crate::{model::Host, offer::HostState, rule::To};

/// Hosts by the addresses and networks they declare or resolve to.
#[derive(Debug, Default)]
pub(crate) struct AddressIndex {
    addresses: HashMap<IpAddr, Vec<Host>>,
    networks: BTreeMap<IpNet, Vec<Host>>,
    /// Hosts by the ports on which they allow any address.
    ports: BTreeMap<u16, BTreeSet<Host>>,
    /// Hosts by the hosts that their rules name.
    named: HashMap<HostId, Vec<Host>>,
    /// Hosts by the addresses that only a proxy dials for them.
    behind: HashMap<IpAddr, Vec<Host>>,
}

impl AddressIndex {
    /// Replaces the entries of `host`.
    pub(crate) fn replace(&mut self, host: &Host, old: &HostState, new: &HostState) {
        let (old_ports, new_ports) = (ports(old), ports(new));
        for port in old_ports.difference(&new_ports) {
            if let Some(hosts) = self.ports.get_mut(port) {
                hosts.remove(host);
            }
        }
        for port in new_ports.difference(&old_ports) {
            self.ports.entry(*port).or_default().insert(host.clone());
        }
        replace(&mut self.named, host, &named(old), &named(new));
        replace(&mut self.behind, host, &old.behind, &new.behind);
        let (old, new) = (&old.related.to, &new.related.to);
        for to in old.iter().filter(|to| new.binary_search(to).is_err()) {
            self.remove(host, to);
        }
        for to in new.iter().filter(|to| old.binary_search(to).is_err()) {
            let hosts = match to {
                To::Address(address) => self.addresses.entry(*address).or_default(),
                To::Network(network) => self.networks.entry(*network).or_default(),
                To::Any | To::Host(_) => continue,
            };
            // Most addresses belong to one host only.
            hosts.reserve_exact(usize::from(hosts.is_empty()));
            hosts.push(host.clone());
        }
    }

    fn remove(&mut self, host: &Host, to: &To) {
        match to {
            To::Address(address) => {
                if let Some(hosts) = self.addresses.get_mut(address) {
                    hosts.retain(|it| it != host);
                    if hosts.is_empty() {
                        self.addresses.remove(address);
                    }
                }
            }
            To::Network(network) => {
                if let Some(hosts) = self.networks.get_mut(network) {
                    hosts.retain(|it| it != host);
                    if hosts.is_empty() {
                        self.networks.remove(network);
                    }
                }
            }
            To::Any | To::Host(_) => {}
        }
    }

    /// The hosts that `address` is related to, in no order.
    pub(crate) fn hosts(&self, address: IpAddr) -> impl Iterator<Item = &Host> {
        let networks = self.networks.iter();
        let around = networks.filter(move |(network, _)| network.contains(&address));
        let exact = self.addresses.get(&address).into_iter().flatten();
        exact.chain(around.flat_map(|(_, hosts)| hosts))
    }

    /// The hosts for which only a proxy dials `address`, in no order.
    pub(crate) fn in_front_of(&self, address: IpAddr) -> impl Iterator<Item = &Host> {
        self.behind.get(&address).into_iter().flatten()
    }

    /// The hosts with a rule that names the host of `id`, in no order.
    pub(crate) fn naming(&self, id: HostId) -> impl Iterator<Item = &Host> {
        self.named.get(&id).into_iter().flatten()
    }

    /// The hosts that allow any address on `port`, with the protocols they declare.
    pub(crate) fn anywhere(&self, port: u16) -> impl Iterator<Item = &Host> {
        self.ports.get(&port).into_iter().flatten()
    }
}

/// Moves `host` from the keys `old` to the keys `new`, which are in order.
fn replace<K: Copy + Ord + Hash>(index: &mut HashMap<K, Vec<Host>>, host: &Host, old: &[K], new: &[K]) {
    for key in old.iter().filter(|key| new.binary_search(key).is_err()) {
        if let Some(hosts) = index.get_mut(key) {
            hosts.retain(|it| it != host);
            if hosts.is_empty() {
                index.remove(key);
            }
        }
    }
    for key in new.iter().filter(|key| old.binary_search(key).is_err()) {
        let hosts = index.entry(*key).or_default();
        // Most keys belong to one host only.
        hosts.reserve_exact(usize::from(hosts.is_empty()));
        hosts.push(host.clone());
    }
}

/// The hosts that the rules of a host name: itself, and names of its endpoints. In order, each once.
fn named(state: &HostState) -> Vec<HostId> {
    let mut named = Vec::new();
    let ports = state.offers.iter().flat_map(|offer| &offer.grants);
    for grant in ports.flat_map(|port| &port.grants) {
        if let To::Host(id) = grant.rule.to {
            named.push(id);
        }
    }
    named.sort_unstable();
    named.dedup();
    named
}

fn ports(state: &HostState) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for offer in &state.offers {
        for (port, of_port) in offer.owner.ports().iter().zip(&offer.grants) {
            if of_port.grants.iter().any(|grant| grant.rule.to == To::Any) {
                ports.insert(port.number);
                // Where a proxy dials, if the port's traffic goes to where the client has dialled.
                ports.extend(port.target);
            }
        }
    }
    ports
}
