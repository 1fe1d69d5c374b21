//! What stands behind the ports of a host: a port without a cluster, or whose cluster has no endpoint, has a listener
//! in Istio that nothing answers.
//!
//! A host has one cluster for each port of the service that comes first among all that a workload imports, and for
//! the ports of those that can be merged with it (`appendSidecarServices` in `sidecar.go`).

use std::collections::BTreeSet;

use crate::{
    istio::{ExportTo, Resolution, ServiceEntry},
    model::{Namespace, Transport},
    objects::Owner,
    offer::{HostState, Import, Imported, Offer},
};

type PortId = (u16, Transport);

/// The ports of a host that have anything behind them in a view.
pub(super) struct Scope {
    ports: BTreeSet<PortId>,
}

impl Scope {
    /// Of what the listeners of the view import.
    pub(super) fn new(state: &HostState, listeners: &[Vec<Imported<'_>>]) -> Self {
        let mut ports = BTreeSet::new();
        let mut seen: Vec<&Offer> = Vec::new();
        for first in firsts(listeners) {
            // Of one age any may come first; those that merge make the same clusters.
            if seen.iter().any(|other| merges(other, first)) {
                continue;
            }
            seen.push(first);
            let merged = listeners.iter().flatten();
            let merged = merged.filter(|imported| merges(first, imported.offer));
            let clusters = merged.flat_map(|imported| imported.ports.iter().map(port));
            match endpoints(state, first) {
                None => ports.extend(clusters),
                Some(endpoints) => ports.extend(clusters.filter(|port| endpoints.contains(port))),
            }
        }
        Self { ports }
    }

    /// The import, with whether anything can be behind it. Nothing stands between a client and a UDP port.
    pub(super) fn judged<'a>(&self, import: &Import<'a>) -> Import<'a> {
        let leads = import.offer.owner.is_service()
            || import.protocol.transport() == Transport::Udp
            || self.ports.contains(&port(import));
        Import { leads, ..*import }
    }
}

/// The offers that may come first: a Service, else the oldest of the first listener.
fn firsts<'a>(listeners: &[Vec<Imported<'a>>]) -> Vec<&'a Offer> {
    let mut imported = listeners.iter().flatten().map(|imported| imported.offer);
    if let Some(service) = imported.find(|offer| offer.owner.is_service()) {
        return vec![service];
    }
    let first = listeners.iter().find(|imported| !imported.is_empty());
    let first = first.into_iter().flatten().map(|imported| imported.offer);
    let oldest = first.clone().map(|offer| offer.age().0).min();
    first.filter(|offer| Some(offer.age().0) == oldest).collect()
}

/// The ports whose cluster can have an endpoint: those of all entries of the namespace, whoever sees them. None if
/// the cluster resolves nothing itself: it has as many endpoints as there are addresses.
fn endpoints(state: &HostState, first: &Offer) -> Option<BTreeSet<PortId>> {
    let Owner::Entry(entry) = &first.owner else {
        return None;
    };
    if matches!(entry.resolution, Resolution::None | Resolution::DynamicDns) {
        return None;
    }
    let namespace: &Namespace = first.namespace();
    let pool = state.offers.iter().filter(|other| {
        other.ignored.is_none()
            && !other.owner.is_service()
            && other.namespace() == namespace
            && other.has_endpoint
    });
    let ports = pool.flat_map(|other| other.owner.ports());
    Some(
        ports
            .map(|port| (port.number, port.protocol.transport()))
            .collect(),
    )
}

/// The service's own port: a listener with another number has the same cluster behind it.
fn port(import: &Import<'_>) -> PortId {
    let port = &import.offer.owner.ports()[import.port];
    (port.number, port.protocol.transport())
}

/// Whether the ports of `other` become those of the service that comes first (`canMergeServices`).
fn merges(first: &Offer, other: &Offer) -> bool {
    if std::ptr::eq(first, other) {
        return true;
    }
    let (Owner::Entry(a), Owner::Entry(b)) = (&first.owner, &other.owner) else {
        return false;
    };
    a.meta.namespace == b.meta.namespace && differences(a, b).is_empty()
}

/// The fields that keep two entries of one host and namespace from merging.
pub(crate) fn differences(a: &ServiceEntry, b: &ServiceEntry) -> BTreeSet<&'static str> {
    let selector = |entry: &ServiceEntry| entry.selector.clone().unwrap_or_default();
    let export_to =
        |entry: &ServiceEntry| -> BTreeSet<ExportTo> { entry.export_to.iter().cloned().collect() };
    let exports_alike = a.export_to == b.export_to || export_to(a) == export_to(b);
    let fields = [
        ("labels", a.label_sum == b.label_sum),
        ("resolution", a.resolution == b.resolution),
        ("workloadSelector", selector(a) == selector(b)),
        ("exportTo", exports_alike),
    ];
    let differ = fields.into_iter().filter(|(_, is_same)| !is_same);
    differ.map(|(field, _)| field).collect()
}
