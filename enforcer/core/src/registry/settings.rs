//! What the configuration says about the registry's meaning, already read and checked.

use std::{collections::BTreeSet, net::IpAddr};

use super::Allowance;
use crate::istio::OutboundMode;

/// How the registry is turned into rules. `Default` is what an empty configuration means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The mode where no MeshConfig and no Sidecar names one.
    pub mode: OutboundMode,
    /// Whether REGISTRY_ONLY is on trial where a workload does not say otherwise: what it would refuse is let through
    /// and reported.
    pub audit: bool,
    /// Which of Istio's meanings the rules follow.
    pub matching: Matching,
    /// What becomes of UDP, which Istio never captures.
    pub udp: UdpPolicy,
    /// Resolvers that everybody reaches on port 53, over UDP and TCP; empty if that is configured away.
    pub resolvers: BTreeSet<IpAddr>,
    /// What else everybody reaches.
    pub allowances: Vec<Allowance>,
    /// The revision whose objects count (`istio.io/rev`); empty takes the objects of every revision.
    pub revision: String,
    /// The suffix of the host names of Services.
    pub cluster_domain: String,
}

/// How a destination is held against an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Only addresses that are declared, or to which a declared name resolves.
    #[default]
    Declared,
    /// Whatever Envoy could accept before it has seen the first byte: often any address on the port.
    Istio,
}

/// What becomes of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UdpPolicy {
    /// The UDP ports of the registry are allowed, as TCP ports without a known protocol are.
    #[default]
    Registry,
    /// All of it is allowed, as beside a sidecar.
    Allow,
    /// Only the trusted resolvers are reached.
    DnsOnly,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: OutboundMode::RegistryOnly,
            audit: false,
            matching: Matching::default(),
            udp: UdpPolicy::default(),
            resolvers: BTreeSet::new(),
            allowances: Vec::new(),
            revision: String::new(),
            cluster_domain: "cluster.local".to_owned(),
        }
    }
}
