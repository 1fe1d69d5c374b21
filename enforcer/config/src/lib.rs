//! The configuration: one YAML file, as it was meant.
//!
//! ```text
//! text -> raw (what was typed, with its lines) -> parse -> Config (what was meant) | Mistakes (one line each)
//!          |-> schema (deploy/config.schema.json)
//! ```
//!
//! **Architecture Invariant:** a [`Config`] cannot hold an invalid value, and no mistake falls back to a default:
//! a configuration that is not understood enforces nothing that was not asked for.

use std::{
    fs::File,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_core::{
    istio::OutboundMode,
    model::{Namespace, Workload},
};

mod cgroup;
mod mistake;
mod parse;
mod pods;
mod raw;
mod schema;
mod units;
mod words;
mod workloads;
mod yaml;

pub use cgroup::CgroupPath;
pub use enforcer_core::capacity::Capacities;
pub use mistake::{Mistake, Mistakes, What};
pub use pods::{BuiltIn, Pods};
pub use schema::json_schema;
pub use words::{Enforcement, Errno, Matching, PodLabels, PodMode, Udp, UnknownWorkloads};

/// Bytes of a configuration file at most.
pub const SIZE_LIMIT: u64 = 16 << 20;

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

/// A workload and where it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// Its cgroup.
    pub cgroup: CgroupPath,
    /// What the cgroup stands for.
    pub workload: Workload,
}

/// Where the programs are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// At each workload's own cgroup.
    EachWorkload,
    /// At these, none within another; every configured workload is at or below one of them. Never empty.
    These(Vec<CgroupPath>),
}

/// How names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Resolvers to ask; empty stands for the system's.
    pub servers: Vec<SocketAddr>,
    /// An answer is kept at least this long.
    pub min_ttl: Duration,
    /// An address that has left the answer stays allowed this long.
    pub grace: Duration,
    /// How long one question may take.
    pub timeout: Duration,
    /// Whether every workload may ask the resolvers.
    pub allow_resolvers: bool,
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

impl Config {
    /// Reads `file`. Its name in messages is the one given; paths in it are relative to its folder.
    ///
    /// # Errors
    /// If it cannot be read, is larger than [`SIZE_LIMIT`], or holds [`Mistakes`].
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        let unreadable = |what| Mistakes::new(file, vec![Mistake { line: None, what }]);
        let mut bytes = Vec::new();
        File::open(file)
            .and_then(|opened| opened.take(SIZE_LIMIT + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(What::Unreadable(error.to_string())))?;
        if bytes.len() as u64 > SIZE_LIMIT {
            return Err(unreadable(What::TooLarge));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable(What::NotText))?;
        Self::parse(&text, file)
    }

    /// Reads `text`, which is the content of `file`.
    ///
    /// # Errors
    /// All mistakes of meaning at once; of mistakes in the YAML itself, and of unknown keys, the first.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Mistakes> {
        let raw = yaml::read(text).map_err(|mistake| Mistakes::new(file, vec![mistake]))?;
        let folder = file.parent().unwrap_or(Path::new(""));
        parse::config(raw, folder).map_err(|mistakes| Mistakes::new(file, mistakes))
    }
}
