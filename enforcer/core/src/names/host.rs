//! The state of one host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    answer::{Cause, Failure, Family},
    time::Moment,
};

/// The state of a host in one family.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) good: Option<Good>,
    pub(super) failing: Option<Failing>,
    /// When to query it next; none while a query is in flight.
    pub(super) due: Option<Moment>,
}

/// The newest good answer.
#[derive(Debug, Default)]
pub(super) struct Good {
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) senseless: BTreeSet<IpAddr>,
    pub(super) left_out: usize,
    pub(super) ttl: Duration,
    pub(super) at: Moment,
}

/// An unbroken run of failures.
#[derive(Debug)]
pub(super) struct Failing {
    pub(super) since: Moment,
    pub(super) count: u32,
    pub(super) last: Failure,
}

impl Records {
    fn was_asked(&self) -> bool {
        self.good.is_some() || self.failing.is_some()
    }

    /// Counts a failure, and keeps the last good answer.
    pub(super) fn fail(&mut self, now: Moment, failure: Failure) {
        let (since, count) = self
            .failing
            .as_ref()
            .map_or((now, 0), |failing| (failing.since, failing.count));
        self.failing = Some(Failing {
            since,
            count: count.saturating_add(1),
            last: failure,
        });
    }
}

/// Both families of a host, its addresses in the hosts file, and the addresses in their grace period.
#[derive(Debug, Default)]
pub(super) struct Entry {
    v4: Records,
    v6: Records,
    pub(super) listed: BTreeSet<IpAddr>,
    /// Addresses in their grace period, with its end.
    leaving: BTreeMap<IpAddr, Moment>,
    /// The addresses last sent to the registry.
    published: BTreeSet<IpAddr>,
}

impl Entry {
    pub(super) fn records(&self, family: Family) -> &Records {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    pub(super) fn records_mut(&mut self, family: Family) -> &mut Records {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Replaces the last good answer; its addresses that are not in the new one stay until `leave`.
    pub(super) fn learn(&mut self, family: Family, good: Good, leave: Moment) {
        let records = self.records_mut(family);
        records.failing = None;
        let new = good.addresses.clone();
        let old = records.good.replace(good).unwrap_or_default().addresses;
        self.replace(&old, &new, leave);
    }

    /// Sets the addresses of an earlier run as the last good answer of their families.
    pub(super) fn remember(&mut self, addresses: BTreeSet<IpAddr>) {
        for address in addresses {
            let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
            self.records_mut(family)
                .good
                .get_or_insert_default()
                .addresses
                .insert(address);
        }
    }

    /// Replaces the addresses from the hosts file; those that are no longer in it stay until `leave`.
    pub(super) fn list(&mut self, listed: BTreeSet<IpAddr>, leave: Moment) {
        let old = std::mem::replace(&mut self.listed, listed.clone());
        self.replace(&old, &listed, leave);
    }

    fn replace(&mut self, old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>, leave: Moment) {
        self.leaving
            .extend(old.difference(new).map(|address| (*address, leave)));
        self.leaving.retain(|address, _| !new.contains(address));
    }

    /// Drops what exceeds `most`, those whose grace period ends first, so that a host whose answers change all the
    /// time stays bounded. Returns how many.
    pub(super) fn bound_leaving(&mut self, most: usize) -> usize {
        let excess = self.leaving.len().saturating_sub(most);
        if excess > 0 {
            let mut order: Vec<_> = self
                .leaving
                .iter()
                .map(|(address, end)| (*end, *address))
                .collect();
            order.sort_unstable();
            for (_, address) in &order[..excess] {
                self.leaving.remove(address);
            }
        }
        excess
    }

    /// Drops the addresses whose grace period has ended.
    pub(super) fn let_go(&mut self, now: Moment) {
        self.leaving.retain(|_, end| *end > now);
    }

    /// When the next grace period ends.
    pub(super) fn next_leave(&self) -> Option<Moment> {
        self.leaving.values().min().copied()
    }

    /// Every current address of the host.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter_map(|family| self.records(family).good.as_ref())
            .flat_map(|good| &good.addresses)
            .chain(&self.listed)
            .chain(self.leaving.keys())
            .copied()
            .collect()
    }

    /// Those that are kept only by their grace period.
    pub(super) fn only_leaving(&self) -> BTreeSet<IpAddr> {
        let held = |address: &IpAddr| {
            self.listed.contains(address)
                || [&self.v4, &self.v6].iter().any(|records| {
                    records
                        .good
                        .as_ref()
                        .is_some_and(|good| good.addresses.contains(address))
                })
        };
        self.leaving
            .keys()
            .filter(|address| !held(address))
            .copied()
            .collect()
    }

    /// The addresses, if they differ from those last sent to the registry; they then count as sent.
    pub(super) fn publish(&mut self) -> Option<BTreeSet<IpAddr>> {
        let addresses = self.addresses();
        (addresses != self.published).then(|| {
            self.published.clone_from(&addresses);
            addresses
        })
    }

    /// Whether each family was asked for and answered, by whatever.
    pub(super) fn was_asked(&self) -> bool {
        self.v4.was_asked() && self.v6.was_asked()
    }

    /// Whether it is normal that `family` has no records: it never had any, a resolver answers that there are none,
    /// and the host's addresses come from another source or still may. A resolver that refuses one family alone, as
    /// some do with AAAA, has none of it to give either.
    pub(super) fn lacks(&self, family: Family) -> bool {
        let (this, other) = match family {
            Family::V4 => (&self.v4, &self.v6),
            Family::V6 => (&self.v6, &self.v4),
        };
        let Some(failing) = this.failing.as_ref().filter(|_| this.good.is_none()) else {
            return false;
        };
        match &failing.last.cause {
            Cause::Refused => !other.was_asked() || (other.good.is_some() && other.failing.is_none()),
            cause if cause.denies().is_some() => {
                other.good.is_some() || !other.was_asked() || !self.listed.is_empty()
            }
            _ => false,
        }
    }

    /// The failure to report: the longest one that is not normal.
    pub(super) fn failing(&self) -> Option<&Failing> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| !self.lacks(*family))
            .filter_map(|family| self.records(family).failing.as_ref())
            .min_by_key(|failing| failing.since)
    }
}
