//! The configuration as it was meant.

use std::path::PathBuf;

use enforcer_core::{capacity::Capacities, istio::OutboundMode, model::Namespace};

use super::{
    dns::Dns,
    enums::{Enforcement, Errno, Matching, Udp, UnknownWorkloads},
    pods::Pods,
    workloads::{Roots, WorkloadConfig},
};

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Files and folders of Istio YAML, already joined with the folder of the configuration file.
    pub registry: Vec<PathBuf>,
    /// The API server that the registry comes from, beside those files; None: from files alone.
    pub kubernetes: Option<Kubernetes>,
    /// `outboundTrafficPolicy`: what holds for workloads that no Sidecar says otherwise of.
    pub outbound: OutboundMode,
    /// Whether what is refused is refused, or only reported.
    pub enforcement: Enforcement,
    /// The workloads; no two have the same cgroup or the same namespace and name.
    pub workloads: Vec<WorkloadConfig>,
    /// Where the programs are attached for these.
    pub roots: Roots,
    /// The pods of this node; None: they are none of the enforcer's business.
    pub pods: Option<Pods>,
    /// What becomes of a process below a root that belongs to no known workload.
    pub unknown_workloads: UnknownWorkloads,
    /// How names are resolved.
    pub dns: Dns,
    /// What a refused call returns.
    pub errno: Errno,
    /// How close to Envoy the rules are.
    pub matching: Matching,
    /// What UDP may do.
    pub udp: Udp,
    /// Whether sockets that are no longer allowed are ended.
    pub revoke: bool,
    /// Kinds of socket beyond TCP and UDP.
    pub sockets: Sockets,
    /// Mount point of bpffs.
    pub bpffs: PathBuf,
    /// Folder of what is known of names between two starts.
    pub state: PathBuf,
    /// Mount point of cgroup v2; None: found among the mounts.
    pub cgroup_mount: Option<PathBuf>,
    /// How much the kernel's maps hold; none of them nothing.
    pub capacities: Capacities,
    /// `istio.io/rev`: objects of other revisions are ignored; None takes all.
    pub revision: Option<String>,
}

/// How the API server of a cluster is reached, and what of it is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// A file as kubectl has it; None: the pod's own account, else the file that KUBECONFIG names.
    pub kubeconfig: Option<PathBuf>,
    /// The context in that file; None: its current one.
    pub context: Option<String>,
    /// The node whose pods are followed; None: `NODE_NAME` in the environment, else the machine's host name.
    pub node: Option<String>,
    /// Where the mesh's ConfigMap is.
    pub mesh_namespace: Namespace,
}

/// Kinds of socket beyond TCP and UDP that workloads may make. What is admitted is unrestricted: no rule speaks of
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Raw IP sockets; with them, packets of any protocol and with any header.
    pub raw: bool,
    /// ICMP datagram sockets.
    pub icmp: bool,
    /// SCTP.
    pub sctp: bool,
    /// UDP-Lite.
    pub udplite: bool,
    /// Packet and XDP sockets.
    pub packet: bool,
}
