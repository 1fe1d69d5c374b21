//! Which live sockets are to end: those that the registry no longer allows.
//!
//! An address that has merely left a host's DNS answer is no reason: new connections go elsewhere, and those that are
//! open stay, as they do in Envoy and as Kubernetes' network policies by name have it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Verdict};
use enforcer_core::{
    model::{Destination, Host},
    plan::Change,
    registry::{Registry, Update},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::revoke::{Live, Place, Request};

/// Addresses that are remembered for one host at most.
const MOST: usize = 4096;

/// Whose sockets are to be looked at.
enum Due {
    Nothing,
    /// Of workloads that were bound, and nothing else has changed: pods that come do not have all others looked at.
    Of(BTreeSet<CgroupId>),
    Everything,
}

pub(super) struct Revocation {
    requests: mpsc::Sender<Request>,
    /// Every address that a wanted host has had since the start.
    former: BTreeMap<Host, BTreeSet<IpAddr>>,
    /// The sweep that is to be asked for.
    due: Due,
}

impl Revocation {
    pub(super) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self {
            requests,
            former: BTreeMap::new(),
            due: Due::Nothing,
        }
    }

    /// Remembers the addresses of hosts.
    pub(super) fn note_update(&mut self, update: &Update) {
        if let Update::Resolved { host, addresses } = update {
            let former = self.former.entry(host.clone()).or_default();
            let room = MOST.saturating_sub(former.len());
            former.extend(addresses.iter().take(room));
        }
    }

    /// Notes what has been carried out; a sweep is due after anything that can take something away.
    pub(super) fn note_changes(&mut self, changes: &[Change]) {
        for change in changes {
            match (change, &mut self.due) {
                (Change::AddRule(..) | Change::Unbind(_), _) | (_, Due::Everything) => {}
                (Change::Bind(workload, _), Due::Of(workloads)) => drop(workloads.insert(*workload)),
                (Change::Bind(workload, _), due @ Due::Nothing) => *due = Due::Of([*workload].into()),
                (_, due) => *due = Due::Everything,
            }
        }
    }

    /// Notes that programs were attached over processes that may be running.
    pub(super) fn note_attached(&mut self) {
        self.due = Due::Everything;
    }

    /// Asks for a sweep of these places, as far as one is due; while many wait already, later. What lies below a place
    /// and is one of `workloads` is no part of it.
    pub(super) fn sweep<'a>(
        &mut self,
        wanted: &BTreeSet<Host>,
        places: impl Iterator<Item = Place>,
        workloads: impl Iterator<Item = &'a CgroupId>,
    ) -> Result<()> {
        let places: Vec<_> = match &self.due {
            Due::Nothing => return Ok(()),
            Due::Of(due) => places.filter(|place| due.contains(&place.cgroup)).collect(),
            Due::Everything => places.collect(),
        };
        self.former.retain(|host, _| wanted.contains(host));
        if places.is_empty() {
            self.due = Due::Nothing;
            return Ok(());
        }
        let workloads = workloads.copied().collect();
        match self.requests.try_send(Request::Sweep { places, workloads }) {
            Ok(()) => self.due = Due::Nothing,
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Closed(_)) => anyhow::bail!("nobody revokes any more"),
        }
        Ok(())
    }

    /// Whether a sweep waits for a better moment.
    pub(super) fn is_due(&self) -> bool {
        !matches!(self.due, Due::Nothing)
    }

    /// Has those sockets ended that are not allowed now, and tells of each.
    pub(super) async fn judge(&self, live: Vec<Live>, registry: &mut Registry) -> Result<()> {
        let mut doomed = Vec::new();
        for socket in live {
            let destination =
                Destination::new(socket.transport(), socket.remote().ip(), socket.remote().port());
            let explanation = registry.explain(socket.workload, destination);
            if explanation.verdict != Verdict::Deny || self.had_been_allowed(&socket, destination, registry) {
                continue;
            }
            if let Some(workload) = registry.workload(socket.workload) {
                tracing::warn!("revoked {workload} -> {destination}: {}", explanation.why);
            }
            doomed.push(socket);
        }
        if doomed.is_empty() {
            return Ok(());
        }
        self.requests
            .send(Request::End(doomed))
            .await
            .context("nobody revokes any more")
    }

    /// Whether the address was that of a host which the workload may still reach on this port.
    fn had_been_allowed(&self, socket: &Live, destination: Destination, registry: &mut Registry) -> bool {
        let had = |(_, former): &(&Host, &BTreeSet<IpAddr>)| former.contains(&destination.address);
        self.former.iter().filter(had).any(|(host, _)| {
            registry.addresses_of(host).into_iter().any(|address| {
                let now = Destination {
                    address,
                    ..destination
                };
                registry.explain(socket.workload, now).verdict != Verdict::Deny
            })
        })
    }
}
