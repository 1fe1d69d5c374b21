//! What the kernel is to hold: a policy for each set of workloads that see and may the same.
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

/// Everything that the kernel's maps are to hold.
///
/// **Invariants.** A policy that shares allows exactly its own rules and [`Desired::shared`], which have none
/// in common and together are exactly the rules of its view; one that does not share allows exactly its own.
/// Without a policy that shares, nothing is shared. A set of rules that is the same in two successive values
/// is the same `Arc`.
///
/// What is shared are the rules of all hosts that every namespace sees alike: those that are public and that
/// one namespace alone offers. A namespace that offers such a host itself takes that host, and no other, out
/// of what is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Rules that every policy with [`DesiredPolicy::shares`] allows beside its own.
    pub shared: Arc<Rules>,
    /// In a stable order, by their first workload; no two are alike in all but their workloads.
    pub policies: Vec<DesiredPolicy>,
    /// What workloads reach beside their policy, so that those that differ in nothing else share one. Only of
    /// workloads that have addresses of their own.
    pub own: BTreeMap<CgroupId, OwnAddresses>,
}

/// One compiled view with its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPolicy {
    /// What becomes of what no rule allows.
    pub mode: Mode,
    /// UDP to anywhere is allowed.
    pub allows_udp: bool,
    /// Whether [`Desired::shared`] belongs to it: its workloads have no Sidecar that leaves anything out.
    pub shares: bool,
    /// Rules of its own; none of them is in [`Desired::shared`] if it shares.
    pub own: Arc<Rules>,
    /// Who it is for, never empty.
    pub workloads: BTreeSet<CgroupId>,
}

impl DesiredPolicy {
    /// Whether it differs from `other` in nothing but its workloads.
    pub fn is_alike(&self, other: &Self) -> bool {
        self.mode == other.mode
            && self.allows_udp == other.allows_udp
            && self.shares == other.shares
            && self.own == other.own
    }
}
