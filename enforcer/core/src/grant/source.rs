//! A rule together with its source in the object.

use std::fmt;

use crate::{model::Host, rule::Rule};

/// A rule, and what in the object makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) rule: Rule,
    pub(crate) source: Source,
}

/// What makes an address part of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// `addresses` of a ServiceEntry.
    Declared,
    /// `status.addresses`: istiod has allocated it.
    Allocated,
    /// This name resolves to it.
    Resolved(Host),
    /// A trusted resolver has given the workload the address for this host.
    Given(Host),
    /// `endpoints` of a ServiceEntry, or an EndpointSlice of a headless Service.
    Endpoint,
    /// The workload selector of a ServiceEntry chooses a Pod or WorkloadEntry there.
    Selected,
    /// A cluster address of a Service.
    ClusterIp,
    /// The address or port of a Sidecar's listener, whatever its services have.
    Listener,
    /// The port only: nothing narrows the addresses.
    AnyAddress,
}

/// As in `allowed by ServiceEntry frontend/db port tcp-5432 (DNS db.example.com)`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared => f.write_str("addresses"),
            Self::Allocated => f.write_str("allocated address"),
            Self::Resolved(host) => write!(f, "DNS {host}"),
            Self::Given(host) => write!(f, "DNS answer for {host}"),
            Self::Endpoint => f.write_str("endpoint"),
            Self::Selected => f.write_str("workloadSelector"),
            Self::ClusterIp => f.write_str("cluster IP"),
            Self::Listener => f.write_str("listener"),
            Self::AnyAddress => f.write_str("any address"),
        }
    }
}
