//! Why an object allows nothing.

use std::fmt;

use crate::{istio::ObjectId, model::Host};

/// Why a port of an object comes to no rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The names under a wildcard are known only by learning them, which is off.
    Unlearned,
    /// No address of the host is known.
    Unresolved,
    /// The workload selector selects nothing.
    NothingSelected,
    /// All endpoints are Unix sockets.
    UnixSockets,
    /// The configuration refuses UDP.
    UdpRefused,
    /// Istio's proxy keeps the port to itself.
    Reserved,
    /// A Service without ports.
    NoPorts,
    /// A Service without a cluster address.
    NoAddress,
    /// An alias, whose target is not registered.
    Alias(Host),
    /// Nothing answers there: no endpoint, or an entry that has the host and cannot be merged with this one.
    NothingBehind,
    /// Another object has the host wherever this one is seen.
    Displaced(ObjectId),
}

impl Cause {
    /// Whether it ends by itself, as pods, endpoints and answers come and go.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unresolved | Self::NothingSelected | Self::NoAddress)
    }
}

/// As in `ServiceEntry a/b allows nothing: …`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlearned => f.write_str(
                "names under a wildcard are known only from the answers that workloads receive, and dns.learn is off",
            ),
            Self::Unresolved => f.write_str("no address of its host is known"),
            Self::NothingSelected => f.write_str("its workloadSelector selects no Pod and no WorkloadEntry"),
            Self::UnixSockets => f.write_str("all of its endpoints are Unix sockets"),
            Self::UdpRefused => f.write_str("its port is for UDP, which the configuration refuses (udp: dns-only)"),
            Self::Reserved => f.write_str("its port is for HTTP, and Istio's proxy keeps it to itself"),
            Self::NoPorts => f.write_str("it has no ports"),
            Self::NoAddress => f.write_str("it has no cluster address"),
            Self::Alias(target) => write!(f, "it is an alias, and its target {target} is not registered"),
            Self::NothingBehind => f.write_str(
                "nothing is behind it: it has no endpoint, or an older entry of its namespace has the host and cannot be \
                 merged with it",
            ),
            Self::Displaced(by) => write!(f, "wherever it is seen, {by} has the host"),
        }
    }
}
