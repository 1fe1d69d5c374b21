//! Ends live sockets that are no longer allowed.
//!
//! ```text
//! owner: rules went, or enforcement began -> Sweep -> list every workload's sockets -> Live -> owner: still allowed?
//!                                                     end them <- Doomed <-----------------------'
//! ```
//!
//! A socket that a workload accepted is not its doing, and stays: its local port is one that somebody listens on.
//!
//! **Architecture Invariant:** nothing is decided here, and a socket is only ended by the cookie under which it was
//! listed, so that a later one with the same ports is safe.

mod diag;
mod namespaces;

use std::{
    collections::BTreeSet,
    fs::File,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Transport};
use tokio::sync::mpsc;

use diag::{Diag, LISTEN, Listed};
use namespaces::{Subtree, within};

/// A workload's cgroup and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The workload's.
    pub cgroup: CgroupId,
    /// Its folder.
    pub folder: PathBuf,
}

/// What the owner asks for.
#[derive(Debug)]
pub enum Request {
    /// List the sockets of these workloads, each without those of others that lie below it.
    Sweep {
        /// Where they are.
        places: Vec<Place>,
        /// All workloads.
        workloads: BTreeSet<CgroupId>,
    },
    /// End these.
    End(Vec<Live>),
}

/// A socket with which a workload reaches out.
#[derive(Clone, Debug)]
pub struct Live {
    /// The workload's.
    pub workload: CgroupId,
    listed: Listed,
    network: Arc<File>,
}

impl Live {
    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.listed.transport
    }

    /// Whom it reaches.
    pub fn remote(&self) -> SocketAddr {
        self.listed.remote
    }
}

/// Does as it is asked until nobody asks any more. Each sweep is answered, also if it found nothing.
///
/// # Errors
/// If a thread cannot be had.
pub async fn run(mut requests: mpsc::Receiver<Request>, found: mpsc::Sender<Vec<Live>>) -> Result<()> {
    while let Some(request) = requests.recv().await {
        match request {
            Request::Sweep { places, workloads } => {
                let live = tokio::task::spawn_blocking(move || sweep(&places, &workloads))
                    .await
                    .context("listing sockets")?;
                if found.send(live).await.is_err() {
                    return Ok(());
                }
            }
            Request::End(sockets) => {
                tokio::task::spawn_blocking(move || end(&sockets))
                    .await
                    .context("ending sockets")?;
            }
        }
    }
    Ok(())
}

/// Lists the sockets with which these workloads reach out. What cannot be looked at is logged.
pub fn sweep(places: &[Place], workloads: &BTreeSet<CgroupId>) -> Vec<Live> {
    let mut all = Vec::new();
    for place in places {
        match live(place, workloads) {
            Ok(live) => all.extend(live),
            Err(error) => tracing::error!(
                "the sockets of {} are not looked at: {error:#}",
                place.folder.display()
            ),
        }
    }
    all
}

fn live(place: &Place, workloads: &BTreeSet<CgroupId>) -> Result<Vec<Live>> {
    let Subtree { cgroups, networks } = Subtree::of(&place.folder, workloads)?;
    let mut all = Vec::new();
    for network in networks.into_values() {
        let sockets = within(&network, || Diag::open()?.list())?;
        let network = Arc::new(network);
        let own = outbound(sockets).filter(|socket| cgroups.contains(&socket.cgroup));
        all.extend(own.map(|listed| Live {
            workload: place.cgroup,
            listed,
            network: Arc::clone(&network),
        }));
    }
    Ok(all)
}

/// The sockets that were connected from here.
fn outbound(sockets: Vec<Listed>) -> impl Iterator<Item = Listed> {
    let listens = |socket: &&Listed| socket.transport == Transport::Tcp && socket.state == LISTEN;
    let listening: BTreeSet<(u16, IpAddr)> = sockets
        .iter()
        .filter(listens)
        .map(|socket| (socket.local.port(), socket.local.ip()))
        .collect();
    sockets.into_iter().filter(move |socket| {
        let (port, address) = (socket.local.port(), socket.local.ip());
        let is_accepted = socket.transport == Transport::Tcp
            && listening
                .iter()
                .any(|(open, on)| *open == port && (on.is_unspecified() || *on == address));
        socket.state != LISTEN && !is_accepted
    })
}

/// Ends sockets. One that cannot be ended is logged.
pub fn end(sockets: &[Live]) {
    for socket in sockets {
        let ended = within(&socket.network, || Diag::open()?.destroy(&socket.listed));
        if let Err(error) = ended {
            let remote = socket.remote();
            tracing::error!("a socket to {remote} that is no longer allowed is still open: {error:#}");
        }
    }
}
