//! What is true now.

use std::{collections::BTreeSet, net::IpAddr};

use enforcer_common::CgroupId;

use crate::{
    istio::{Object, ObjectId},
    model::{Host, Workload},
};

/// One thing that has changed in the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// An object is there, or has another content.
    Apply(Object),
    /// An object is gone.
    Delete(ObjectId),
    /// The addresses that stand for a host now, those in their grace included; replaces what was known.
    Resolved {
        /// The name, not a wildcard.
        host: Host,
        /// Never IPv4-mapped ones.
        addresses: BTreeSet<IpAddr>,
    },
    /// A workload's cgroup is there, or stands for another workload.
    Workload(CgroupId, Workload),
    /// A workload's cgroup is gone.
    WorkloadGone(CgroupId),
}
