//! The status of hosts, for operators.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::model::Host;

use super::{
    answer::Family,
    host::{Entry, Failing},
    time::Moment,
};

/// The status of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostStatus {
    /// Its name.
    pub host: Host,
    /// Every current address, including those in their grace period.
    pub addresses: BTreeSet<IpAddr>,
    /// Those of them that are kept only by their grace period.
    pub leaving: BTreeSet<IpAddr>,
    /// How old its older good answer is; none before the first one.
    pub age: Option<Duration>,
    /// Whether a family of addresses was not answered for yet, neither well nor by a failure.
    pub is_pending: bool,
    /// How it fails, if it does.
    pub failing: Option<FailingStatus>,
    /// How many addresses of its newest answers were left out because there were too many.
    pub left_out: usize,
}

/// An unbroken run of failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailingStatus {
    /// For how long.
    pub duration: Duration,
    /// How many times.
    pub count: u32,
    /// The last error.
    pub error: String,
}

impl HostStatus {
    pub(super) fn of(host: &Host, entry: &Entry, now: Moment) -> Self {
        let good = || {
            [Family::V4, Family::V6]
                .into_iter()
                .filter_map(|family| entry.records(family).good.as_ref())
        };
        Self {
            host: host.clone(),
            addresses: entry.addresses(),
            leaving: entry.only_leaving(),
            age: good().map(|good| now.since(good.at)).max(),
            is_pending: !entry.was_asked(),
            failing: entry.failing().map(|failing| FailingStatus::of(failing, now)),
            left_out: good().map(|good| good.left_out).sum(),
        }
    }
}

impl FailingStatus {
    fn of(failing: &Failing, now: Moment) -> Self {
        Self {
            duration: now.since(failing.since),
            count: failing.count,
            error: failing.last.to_string(),
        }
    }
}

/// A change to report, once and not with every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A host has begun to fail.
    Failing {
        /// Its name.
        host: Host,
        /// The first error.
        error: String,
        /// How many addresses are kept from earlier.
        kept: usize,
    },
    /// A host no longer fails.
    Recovered {
        /// Its name.
        host: Host,
        /// For how long it failed.
        after: Duration,
    },
    /// A host has more addresses than are taken.
    TooMany {
        /// Its name.
        host: Host,
        /// How many were left out.
        left_out: usize,
    },
    /// An answer holds addresses that nothing can connect to; they are left out.
    Senseless {
        /// Its name.
        host: Host,
        /// Multicast and broadcast addresses.
        addresses: BTreeSet<IpAddr>,
    },
}

impl Notice {
    /// What to report of a host that was failing since `before`, if it was, and is now as in `entry`.
    pub(super) fn turn(host: &Host, before: Option<Moment>, entry: &Entry, now: Moment) -> Option<Self> {
        match (before, entry.failing()) {
            (None, Some(failing)) => Some(Self::Failing {
                host: host.clone(),
                error: failing.last.to_string(),
                kept: entry.addresses().len(),
            }),
            (Some(since), None) => Some(Self::Recovered {
                host: host.clone(),
                after: now.since(since),
            }),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}
