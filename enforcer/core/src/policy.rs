//! What the kernel is to hold.

use std::{collections::BTreeSet, sync::Arc};

use enforcer_common::CgroupId;

use crate::{model::Mode, rule::Rules};

/// Everything that the kernel's maps are to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Rules that every policy with [`DesiredPolicy::shares`] allows beside its own.
    pub shared: Arc<Rules>,
    /// In a stable order; no two are alike in all but their workloads.
    pub policies: Vec<DesiredPolicy>,
}

/// One compiled view with its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPolicy {
    /// What becomes of what no rule allows.
    pub mode: Mode,
    /// UDP to anywhere is allowed.
    pub allows_udp: bool,
    /// Whether [`Desired::shared`] belongs to it.
    pub shares: bool,
    /// Rules of its own; none of them is in [`Desired::shared`] if it shares.
    pub own: Arc<Rules>,
    /// Who it is for, never empty.
    pub workloads: BTreeSet<CgroupId>,
}
