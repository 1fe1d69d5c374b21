//! Which cgroups of pods exist, and which resolvers their node has.
//!
//! ```text
//! inotify -> look: kubepods, its classes, the pods, their containers -> what came and what went
//! every few seconds -^   `-> astray: all other cgroups -> pods that run elsewhere
//! every half minute -^ kubelet: what it is told --> more cgroups and files of these
//! every few seconds -^ the node's resolv.conf ------------------------> the resolvers of the node
//! ```
//!
//! **Architecture Invariant:** a notice only causes a check. However many notices arrive, there is one check at a
//! time, and its cost is that of reading the folders: a container that creates cgroups of its own causes no notice
//! at all.

mod astray;
mod kubelet;
mod look;
mod resolvers;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use anyhow::Result;
use enforcer_core::pods::{PodCgroup, PodUid};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Sink, notices::Notices};
use crate::datapath::{Cgroup, CgroupMount};
pub use astray::Astray;
use look::Scan;
pub(crate) use resolvers::of_node;

/// The role of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// All pods are below it.
    Root,
    /// A pod or a container.
    Place(PodCgroup),
}

/// A cgroup has appeared or gone. One that was removed and created again has gone and appeared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodChange {
    /// It exists.
    Appeared(Cgroup, Role),
    /// It no longer exists.
    Gone(Cgroup, Role),
    /// What is found of pods outside the followed cgroups has changed to this.
    Astray(Astray),
    /// The node's files name these resolvers now.
    Resolvers(BTreeSet<SocketAddr>),
}

/// What is taken from the settings of the node's kubelets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromKubelet {
    /// Their cgroups of pods.
    pub roots: bool,
    /// Their file with the resolvers.
    pub resolv_conf: bool,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The kubelet's cgroups of all pods, whether they exist or not.
    pub roots: BTreeSet<PathBuf>,
    /// The pod that this process is in, if the kubelet's cgroup above it is to be followed wherever it is.
    pub own: Option<PodUid>,
    /// Whether containers matter, and not only pods.
    pub containers: bool,
    /// The node's files with the resolvers that it gives to pods.
    pub resolv_confs: Vec<PathBuf>,
    /// What else is taken from the node's kubelets.
    pub kubelet: FromKubelet,
}

/// Follows the cgroups of pods. The first batch is always sent and contains those that exist.
///
/// # Errors
/// If the check panics.
pub async fn follow(
    mount: CgroupMount,
    wanted: Wanted,
    sink: Sink<Vec<PodChange>>,
    cancel: CancellationToken,
) -> Result<()> {
    let (wake, woken) = mpsc::channel(1);
    let scan = Scan::new(mount, wanted, Notices::new(wake));
    super::look::follow(scan, woken, sink, cancel).await
}
