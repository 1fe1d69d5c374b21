//! Parts of a pod: how far it is, whom it asks for names, its containers.

use std::net::IpAddr;

/// How far a pod is: `status.phase`, and whether it is being deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// The kubelet does not report it as running.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It is reported as running, and being deleted: its processes may have ended already.
    Ending,
    /// All its containers have ended for good.
    Ended,
}

/// Whom a pod asks for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDns {
    /// `spec.dnsPolicy`.
    pub policy: DnsPolicy,
    /// `spec.dnsConfig.nameservers`, which the kubelet adds whatever the policy.
    pub servers: Vec<IpAddr>,
}

/// A pod's `dnsPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsPolicy {
    /// The cluster's resolver; the node's for a pod in the node's network.
    #[default]
    ClusterFirst,
    /// The cluster's resolver.
    ClusterFirstWithHostNet,
    /// The node's.
    Default,
    /// Only those of `dnsConfig`.
    None,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The runtime's identifier, without the runtime's name.
    pub id: String,
}
