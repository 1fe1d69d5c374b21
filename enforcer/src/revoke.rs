//! Ends live sockets that are no longer allowed.
//!
//! ```text
//! owner: rules went, or enforcement began -> Sweep -> look at every workload's sockets -> Found -> owner: allowed?
//!                                                          end them <- End <-------------------------'
//! Looked, for each workload; Swept, once all that a sweep has found was told; Ended, for each End
//! ```
//!
//! A TCP socket that a connect hook has allowed, or that `socket()` has created under enforcement, was connected by
//! the workload, whatever else happens on its port. A socket with the marks of its listening socket was accepted,
//! which the workload did not initiate; this holds even after the listener is gone. A socket without marks may be
//! older than enforcement: it counts as accepted if a socket listens on its local port.
//!
//! **Architecture Invariant:** nothing is decided here. A socket is ended only by the cookie under which it was
//! listed, so that a later one with the same ports is safe.

mod diag;
mod held;
mod inodes;
mod listing;
mod look;
mod message;
mod network;
mod subtree;
mod sys;
mod task;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use enforcer_common::{CgroupId, Transport};
use tokio::sync::Notify;

pub use task::run;

use diag::Diag;
use look::Look;
use message::Listed;
use network::{Network, NetworkId};

/// A workload's cgroup and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The workload's.
    pub cgroup: CgroupId,
    /// Its folder.
    pub folder: PathBuf,
}

/// Requests from the owner.
#[derive(Debug)]
pub enum Request {
    /// List the sockets of these workloads, each without those of others that lie below it.
    Sweep {
        /// Where they are.
        places: Vec<Place>,
        /// All workloads.
        workloads: BTreeSet<CgroupId>,
    },
    /// End these sockets, which belong to this workload.
    End(CgroupId, Vec<Live>),
}

/// An input of the owner.
#[derive(Debug)]
pub enum Report {
    /// Sockets of one workload that a sweep has found: one batch of many. The next batch of the same look follows
    /// once all of these are judged, and those that are not allowed are ended. So for each of its looks, a workload
    /// has at most [`BATCH`] sockets with the owner and with the tasks that end them.
    Found(Vec<Live>),
    /// A look at a workload's sockets is over, and everything that it found was sent.
    Looked {
        /// The workload's.
        workload: CgroupId,
        /// Why not all of its sockets could be looked at; None if all were.
        hidden: Option<String>,
    },
    /// A sweep is over, and everything that it found was sent.
    Swept,
    /// The sockets to end are gone, except those that are still open.
    Ended {
        /// Their workload.
        workload: CgroupId,
        /// How many could not be ended, and why; None if all were.
        open: Option<Open>,
    },
}

/// Sockets that could not be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// How many.
    pub sockets: usize,
    /// The reason, the first of maybe several.
    pub why: String,
}

/// The most sockets in one message to the owner.
pub const BATCH: usize = 256;

/// A socket that a workload uses for an outgoing flow.
#[derive(Clone, Debug)]
pub struct Live {
    /// The workload's.
    pub workload: CgroupId,
    listed: Listed,
    network: Arc<Network>,
    /// Shared by all sockets of a batch.
    _batch: Option<Arc<Batch>>,
}

/// Dropped with the last socket of a batch; signals that there is room for the next.
#[derive(Debug)]
struct Batch(Arc<Notify>);

impl Drop for Batch {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Live {
    /// Its transport.
    pub fn transport(&self) -> Transport {
        self.listed.transport
    }

    /// Its local address.
    pub fn local(&self) -> SocketAddr {
        self.listed.local()
    }

    /// Its peer's address.
    pub fn remote(&self) -> SocketAddr {
        self.listed.remote()
    }

    /// The destination for which it was allowed: what its process has named, where a program of somebody else has
    /// replaced that by its peer's address; else its peer's address.
    pub fn destination(&self) -> SocketAddr {
        self.listed.destination()
    }
}

/// Lists the outgoing sockets of these workloads, without a task. What cannot be read is logged.
pub fn sweep(places: &[Place], workloads: &BTreeSet<CgroupId>, marks: Option<&Arc<OwnedFd>>) -> Vec<Live> {
    let others = Arc::new(workloads.clone());
    let mut all = Vec::new();
    for place in places {
        let mut look = Look::at(place.clone(), Arc::clone(&others), marks.cloned());
        while !look.advance(Instant::now() + Duration::from_secs(1)) {
            all.extend(look.found.drain(..));
        }
    }
    all
}

/// Ends sockets, and returns which are still open. Logs each reason once.
pub fn end(sockets: &[Live]) -> Option<Open> {
    let mut by_network: BTreeMap<NetworkId, Vec<&Live>> = BTreeMap::new();
    for socket in sockets {
        by_network.entry(socket.network.id).or_default().push(socket);
    }
    let mut open: BTreeMap<String, (usize, SocketAddr)> = BTreeMap::new();
    for sockets in by_network.into_values() {
        for (socket, error) in end_within(&sockets) {
            open.entry(error).or_insert((0, socket.remote())).0 += 1;
        }
    }
    for (error, (count, remote)) in &open {
        tracing::error!(
            "connections that are no longer allowed are still open: {count} of {}, one of them to {remote}; it is \
             tried again, and restarting their process closes them: {error}",
            sockets.len()
        );
    }
    let sockets = open.values().map(|(count, _)| count).sum();
    let (why, _) = open.pop_first()?;
    Some(Open { sockets, why })
}

/// Ends sockets of one namespace. Returns those that are still open, and why.
fn end_within<'a>(sockets: &[&'a Live]) -> Vec<(&'a Live, String)> {
    let Some(first) = sockets.first() else {
        return Vec::new();
    };
    let diag: Result<Diag> = first.network.within(Diag::open);
    match diag {
        Ok(mut diag) => {
            let ended = sockets
                .iter()
                .map(|socket| (*socket, diag.destroy(&socket.listed)));
            ended
                .filter_map(|(socket, ended)| Some((socket, format!("{:#}", ended.err()?))))
                .collect()
        }
        Err(error) => sockets
            .iter()
            .map(|socket| (*socket, format!("{error:#}")))
            .collect(),
    }
}
