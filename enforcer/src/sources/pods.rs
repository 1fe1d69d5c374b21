//! Which cgroups of pods are there.
//!
//! ```text
//! inotify -> look: kubepods, its classes, the pods, their containers -> what came and what went
//! every few seconds -^
//! ```
//!
//! **Architecture Invariant:** a notice is only ever a reason to look. However many come, one look at a time is made,
//! and its cost is that of reading the folders: a container that makes cgroups of its own makes no notice at all.

mod look;

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::Result;
use enforcer_core::pods::PodCgroup;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Sink, notices::Notices};
use crate::datapath::{Cgroup, CgroupMount};
use look::Scan;

/// What a cgroup is to pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// All pods are below it.
    Root,
    /// A pod or a container.
    Place(PodCgroup),
}

/// A cgroup has come or gone. One that was removed and made again has gone and come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodChange {
    /// It is there.
    Appeared(Cgroup, Role),
    /// It is not there any more.
    Gone(Cgroup, Role),
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The kubelet's cgroups of all pods, there or not.
    pub roots: BTreeSet<PathBuf>,
    /// Whether containers matter, and not only pods.
    pub containers: bool,
}

/// Follows the cgroups of pods. The first batch is sent in any case and holds what is there.
///
/// # Errors
/// If looking at them panics.
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
