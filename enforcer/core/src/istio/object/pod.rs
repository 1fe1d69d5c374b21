//! A pod: how far it is, whom it asks for names, its proxy, its containers.

use std::net::IpAddr;

use super::Meta;

/// A pod, as far as others reach it or selectors select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Whose it is.
    pub meta: Meta,
    /// `metadata.uid`; empty if a document has none.
    pub uid: String,
    /// `spec.nodeName`; empty until it is scheduled.
    pub node: String,
    /// `status.podIPs`; none once it has ended.
    pub addresses: Vec<IpAddr>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// How far it is.
    pub phase: PodPhase,
    /// Whether its condition `Ready` is true: only then do selectors of ServiceEntries choose it.
    pub is_ready: bool,
    /// The proxy that its spec names, if any.
    pub proxy: Option<Proxy>,
    /// Whom it asks for names.
    pub dns: PodDns,
    /// Its controller, as kind and name, such as `ReplicaSet web-5d8`.
    pub controller: Option<String>,
    /// The containers that a runtime has made: init, ephemeral and ordinary ones.
    pub containers: Vec<Container>,
}

impl Pod {
    /// Whether the kubelet gives it the resolvers of its node (`getPodDNSType` in the kubelet's `dns.go`).
    pub fn asks_node(&self) -> bool {
        match self.dns.policy {
            DnsPolicy::Default => true,
            DnsPolicy::ClusterFirst => self.host_network,
            DnsPolicy::ClusterFirstWithHostNet | DnsPolicy::None => false,
        }
    }
}

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

/// What Istio calls the container of every proxy.
pub const PROXY_CONTAINER: &str = "istio-proxy";

/// Which of Istio's proxies a pod's spec names. Nobody but the pod's author says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// One that the pod's own connections pass.
    Sidecar,
    /// A gateway or a waypoint (`proxy router`, `proxy waypoint`), to which Istio applies no Sidecar.
    Gateway,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// The runtime's identifier, without the runtime's name.
    pub id: String,
}
