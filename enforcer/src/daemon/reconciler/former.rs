//! Addresses that workloads had learned, also once the kernel has given them up for newer ones: open connections to
//! them are judged as if they were still learned.
//!
//! Only those of workloads are read that are about to use their slots again. What is given up within moments after it
//! was learned, or before this start, is not known here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use enforcer_common::{CgroupId, HostId};

use crate::datapath::LearnedAddress;

/// Addresses that are remembered for one workload at most: its own oldest go...
const MOST: usize = 4096;
/// ...and for all of them. What comes later is not remembered.
const MOST_OF_ALL: usize = 65_536;

#[derive(Default)]
pub(super) struct Former {
    of: BTreeMap<CgroupId, OfOne>,
    /// How many they are.
    held: usize,
    /// How many of the slots that a workload was ever assigned have been read.
    read: BTreeMap<CgroupId, u64>,
}

#[derive(Default)]
struct OfOne {
    hosts: BTreeMap<IpAddr, BTreeSet<HostId>>,
    order: VecDeque<IpAddr>,
}

impl Former {
    /// Up to which number the slots of a workload were read.
    pub(super) fn read(&self, workload: CgroupId) -> u64 {
        self.read.get(&workload).copied().unwrap_or_default()
    }

    pub(super) fn note_read(&mut self, workload: CgroupId, number: u64) {
        self.read.insert(workload, number);
    }

    /// Has all slots read again: they have other numbers.
    pub(super) fn read_again(&mut self) {
        self.read.clear();
    }

    pub(super) fn remember(&mut self, learned: LearnedAddress) {
        let of = self.of.entry(learned.workload).or_default();
        let hosts = learned.hosts.into_iter().map(|(host, _)| host);
        if let Some(known) = of.hosts.get_mut(&learned.address) {
            known.extend(hosts);
            return;
        }
        if of.order.len() >= MOST
            && let Some(oldest) = of.order.pop_front()
        {
            of.hosts.remove(&oldest);
            self.held -= 1;
        }
        if self.held < MOST_OF_ALL {
            of.order.push_back(learned.address);
            of.hosts.insert(learned.address, hosts.collect());
            self.held += 1;
        }
    }

    /// The hosts of rules for which the workload was given the address.
    pub(super) fn hosts(&self, workload: CgroupId, address: IpAddr) -> BTreeSet<HostId> {
        let hosts = self.of.get(&workload).and_then(|of| of.hosts.get(&address));
        hosts.cloned().unwrap_or_default()
    }

    /// Forgets the workloads that are not there.
    pub(super) fn keep(&mut self, is_there: impl Fn(CgroupId) -> bool) {
        self.read.retain(|workload, _| is_there(*workload));
        self.of.retain(|workload, _| is_there(*workload));
        self.held = self.of.values().map(|of| of.order.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;
    use crate::datapath::Life;

    fn learned(workload: u64, number: u32, host: u8) -> LearnedAddress {
        LearnedAddress {
            workload: CgroupId(workload),
            address: Ipv4Addr::from_bits(number).into(),
            name: None,
            age: Duration::ZERO,
            hosts: vec![(HostId::new([host; 16]), Life::Over(Duration::ZERO))],
        }
    }

    fn hosts(former: &Former, workload: u64, number: u32) -> usize {
        let address = Ipv4Addr::from_bits(number);
        former.hosts(CgroupId(workload), address.into()).len()
    }

    #[test]
    fn what_was_learned_is_remembered_for_its_workload_with_every_host() {
        let mut former = Former::default();
        former.remember(learned(1, 7, 1));
        former.remember(learned(1, 7, 2));
        former.remember(learned(1, 7, 2));
        assert_eq!(
            [hosts(&former, 1, 7), hosts(&former, 2, 7), hosts(&former, 1, 8)],
            [2, 0, 0]
        );
        former.note_read(CgroupId(1), 3);
        former.keep(|workload| workload != CgroupId(1));
        assert_eq!((hosts(&former, 1, 7), former.read(CgroupId(1))), (0, 0));
    }

    #[test]
    fn one_workload_takes_only_its_own_share_and_all_have_a_bound() {
        let mut former = Former::default();
        let all = u32::try_from(MOST).unwrap();
        for number in 0..2 * all {
            former.remember(learned(1, number, 1));
        }
        assert_eq!(former.held, MOST);
        assert_eq!(
            [hosts(&former, 1, all - 1), hosts(&former, 1, all)],
            [0, 1],
            "the oldest go"
        );
        for workload in 2..40 {
            for number in 0..all {
                former.remember(learned(workload, number, 1));
            }
        }
        assert_eq!(former.held, MOST_OF_ALL);
        former.keep(|workload| workload == CgroupId(2));
        assert_eq!(former.held, MOST);
    }
}
