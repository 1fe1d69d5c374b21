//! Addresses that wanted hosts have had, now and at earlier starts. One that has merely left a host's DNS answer is no
//! reason to end a socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use enforcer_core::model::Host;

use crate::names::memory::Memory;

/// Addresses that are remembered for one host at most...
const MOST: usize = 4096;
/// ...and for all of them, which is a file of some megabytes. What comes later is not remembered.
const MOST_OF_ALL: usize = 65_536;

#[derive(Default)]
pub(super) struct PastAddresses {
    addresses: BTreeMap<Host, BTreeSet<IpAddr>>,
    /// How many they are.
    held: usize,
    /// None if nothing outlives this process.
    memory: Option<Memory>,
}

impl PastAddresses {
    /// With what an earlier start has left.
    pub(super) fn new(memory: Option<Memory>) -> Self {
        let mut past = Self::default();
        for (host, addresses) in memory.as_ref().map(Memory::read).unwrap_or_default() {
            past.remember(&host, &addresses);
        }
        past.memory = memory;
        past
    }

    pub(super) fn remember(&mut self, host: &Host, addresses: &BTreeSet<IpAddr>) {
        let past = self.addresses.entry(host.clone()).or_default();
        let before = past.len();
        let room = (MOST.saturating_sub(before)).min(MOST_OF_ALL.saturating_sub(self.held));
        let news: Vec<_> = addresses.difference(past).take(room).copied().collect();
        past.extend(news);
        let more = past.len() - before;
        self.held += more;
        if let Some(memory) = self.memory.as_mut().filter(|_| more > 0) {
            memory.touch();
        }
    }

    /// Forgets all hosts but these.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<Host>) {
        self.addresses.retain(|host, _| wanted.contains(host));
        self.held = self.addresses.values().map(BTreeSet::len).sum();
    }

    /// Hosts that have had this address.
    pub(super) fn hosts(&self, address: IpAddr) -> impl Iterator<Item = &Host> {
        let all = self.addresses.iter();
        all.filter(move |(_, past)| past.contains(&address))
            .map(|(host, _)| host)
    }

    /// Writes what is remembered, if that has changed a moment ago.
    pub(super) fn write(&mut self) {
        let addresses = &self.addresses;
        if let Some(memory) = &mut self.memory {
            memory.write(|| addresses.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_has_bounds() {
        let mut past = PastAddresses::default();
        let many = |host: u8| {
            let all = (0..=255_u8).flat_map(move |a| (0..32_u8).map(move |b| [10, host, a, b]));
            all.map(IpAddr::from).collect::<BTreeSet<_>>()
        };
        let name = |host: u8| Host::new(&format!("h{host}.example.com"));
        for host in 0..20 {
            past.remember(&name(host), &many(host));
        }
        assert!(past.addresses.values().all(|addresses| addresses.len() <= MOST));
        let all: usize = past.addresses.values().map(BTreeSet::len).sum();
        assert_eq!((all, past.held), (MOST_OF_ALL, MOST_OF_ALL));
        past.remember(&name(0), &many(0));
        assert_eq!(past.held, MOST_OF_ALL, "what is known is not counted twice");
        past.keep(&[name(3)].into());
        assert_eq!(past.held, MOST);
        assert_eq!(past.hosts([10, 3, 0, 0].into()).collect::<Vec<_>>(), [&name(3)]);
        assert_eq!(past.hosts([10, 4, 0, 0].into()).count(), 0);
    }
}
