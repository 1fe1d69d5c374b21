//! The desired content of the kernel's maps: one policy for each set of workloads with equal permissions.
//!
//! `the registry's views -> Desired -> fit`
//!
//! It must never decide who sees what: that is `view`.

mod fit;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::CgroupId;

pub use fit::fit;

use crate::{
    model::{Mode, OwnAddresses},
    rule::Rules,
};

/// The desired content of the kernel's maps.
///
/// **Invariants.** A policy that shares allows exactly its own rules and those that it shares, which have none
/// in common and together are exactly the rules of its view; one that does not share allows exactly its own.
/// [`Desired::shared`] has nothing that no policy shares. A set of rules that is equal in two successive values is
/// the same `Arc`.
///
/// The shared rules are those of all hosts that every namespace sees in the same way: public hosts that only one
/// namespace offers. If a second namespace offers such a host, only the rules of that host are no longer shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Rules that policies allow beside their own, by [`DesiredPolicy::shares`]; absent if there are none.
    pub shared: BTreeMap<Shared, Arc<Rules>>,
    /// In a stable order, by their first workload; no two differ only in their workloads.
    pub policies: Vec<DesiredPolicy>,
    /// The workloads' own addresses, which they reach in addition to their policy. They are kept here so that
    /// workloads that differ in nothing else share a policy. Workloads without own addresses have no entry.
    pub own: BTreeMap<CgroupId, OwnAddresses>,
}

/// Which rules a policy shares with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shared {
    /// What all namespaces see alike.
    Plain,
    /// The same with what stands behind it, for workloads with a proxy. It contains the other, because the kernel
    /// looks into no more than two sets of rules.
    Proxied,
}

/// One compiled view with its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPolicy {
    /// What happens to traffic that no rule allows.
    pub mode: Mode,
    /// UDP to anywhere is allowed.
    pub allows_udp: bool,
    /// Which rules of [`Desired::shared`] belong to it: none if its workloads have a Sidecar that leaves anything out.
    pub shares: Option<Shared>,
    /// Rules of its own; none of them is among those that it shares.
    pub own: Arc<Rules>,
    /// The workloads that it applies to; never empty.
    pub workloads: BTreeSet<CgroupId>,
}

impl Desired {
    /// The rules that `policy` shares with others.
    pub fn shared_by(&self, policy: &DesiredPolicy) -> &Rules {
        static NONE: Rules = Rules::new();
        let shared = policy.shares.and_then(|shares| self.shared.get(&shares));
        shared.map_or(&NONE, |rules| rules)
    }
}

impl DesiredPolicy {
    /// Whether it equals `other`, ignoring the workloads.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.allows_udp == other.allows_udp
            && self.shares == other.shares
            && self.own == other.own
    }
}
