//! The configuration, checked and with its defaults.

use std::path::PathBuf;

use enforcer_core::{capacity::Capacities, istio::OutboundMode, model::Namespace};

use super::{
    dns::Dns,
    enums::{Enforcement, Errno, Matching, Udp, UnknownWorkloads},
    error::Warning,
    metrics::Metrics,
    observe::Observe,
    pods::Pods,
    ui::Ui,
    workloads::{Roots, WorkloadConfig},
};

/// The settings of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Files and folders of Istio YAML, already joined with the folder of the configuration file.
    pub registry: Vec<PathBuf>,
    /// The API server that the registry comes from, beside those files; None: from files alone.
    pub kubernetes: Option<Kubernetes>,
    /// `outboundTrafficPolicy` of workloads whose Sidecar does not set it.
    pub outbound: OutboundMode,
    /// Whether violations are refused, or only reported.
    pub enforcement: Enforcement,
    /// The workloads; no two have the same cgroup or the same namespace and name.
    pub workloads: Vec<WorkloadConfig>,
    /// Where the programs are attached for these.
    pub roots: Roots,
    /// The pods of this node; None: pods are not enforced.
    pub pods: Option<Pods>,
    /// What happens to a process below a root that belongs to no known workload.
    pub unknown_workloads: UnknownWorkloads,
    /// How names are resolved.
    pub dns: Dns,
    /// What a refused call returns.
    pub errno: Errno,
    /// How closely the rules follow Envoy.
    pub matching: Matching,
    /// What UDP may do.
    pub udp: Udp,
    /// Whether sockets that are no longer allowed are ended.
    pub revoke: bool,
    /// Kinds of socket beyond TCP and UDP.
    pub sockets: Sockets,
    /// Mount point of bpffs.
    pub bpffs: PathBuf,
    /// Folder in which resolved names are kept between two starts.
    pub state: PathBuf,
    /// Mount point of cgroup v2; None: found among the mounts.
    pub cgroup_mount: Option<PathBuf>,
    /// How many entries the kernel's maps hold, each at least one.
    pub capacities: Capacities,
    /// What is kept of what workloads were seen to reach.
    pub observe: Observe,
    /// The page that the enforcer serves; None: it serves none.
    pub ui: Option<Ui>,
    /// The listener for what scrapes metrics; None: nobody listens.
    pub metrics: Option<Metrics>,
    /// `istio.io/rev`: objects of other revisions are ignored; None takes all.
    pub revision: Option<String>,
    /// What is valid and may not be what is meant, in the order of the lines.
    pub warnings: Vec<Warning>,
}

/// How to reach the API server of a cluster, and which of its objects to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// A kubeconfig file; None: the pod's own account, else the file that KUBECONFIG names.
    pub kubeconfig: Option<PathBuf>,
    /// The context in that file; None: its current one.
    pub context: Option<String>,
    /// The node whose pods are followed; None: `NODE_NAME` in the environment, else the machine's host name.
    pub node: Option<String>,
    /// Where the mesh's ConfigMap is.
    pub mesh_namespace: Namespace,
}

/// Kinds of socket beyond TCP and UDP that workloads may create. Admitted kinds are unrestricted: no rule applies
/// to them.
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
