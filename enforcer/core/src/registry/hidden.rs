//! Hosts of entries that Sidecars hide.
//!
//! **Architecture Invariant:** a host is hidden from all exactly if it counts where no Sidecar applies, and in no view of
//! a workload that there could be, whatever its namespace and labels.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Conflict, Registry, Warning,
    exported::CLIENTS,
    ineffective::{displaced, is_seen},
    views::{Views, sees},
};
use crate::{
    export::Export,
    istio::ObjectId,
    model::{Host, Namespace},
    objects::Owner,
    offer::{HostState, Offer},
};

/// Which hosts of each entry are hidden, and from whom: None stands for everybody.
type Hidden = BTreeMap<(ObjectId, Option<Namespace>), (BTreeSet<Host>, BTreeSet<ObjectId>)>;

/// Adds the warnings.
pub(super) fn warn(registry: &Registry, views: &Views, warnings: &mut BTreeSet<Warning>) {
    let mut hidden = Hidden::new();
    for (host, state) in &registry.states {
        for offer in &state.offers {
            let is_entry = matches!(&offer.owner, Owner::Entry(entry) if !entry.ports.is_empty());
            if is_entry && is_seen(offer) {
                for (from, by) in hidden_from(views, offer, state) {
                    let (hosts, sidecars) = hidden.entry((offer.owner.id(), from)).or_default();
                    hosts.insert(host.clone());
                    sidecars.extend(by);
                }
            }
        }
    }
    warnings.extend(hidden.into_iter().map(|((entry, from), (hosts, by))| {
        Warning::Conflict(match from {
            None => Conflict::HiddenFromAll { entry, hosts, by },
            Some(namespace) => Conflict::HiddenIn {
                entry,
                hosts,
                namespace,
                by,
            },
        })
    }));
}

/// From whom an entry's host is hidden that counts where no Sidecar applies, and by which Sidecars.
fn hidden_from(
    views: &Views,
    offer: &Offer,
    state: &HostState,
) -> Vec<(Option<Namespace>, BTreeSet<ObjectId>)> {
    let see = |namespace: &Namespace| views.see(namespace, offer, state);
    let own = offer.namespace();
    let nowhere = Namespace::new("");
    match &offer.export {
        Export::Public => {
            let likeliest = [&nowhere, own].into_iter();
            // Where a Sidecar keeps out what is of a workload's own namespace, another one's counts there.
            let with_own = state.offers.iter().map(Offer::namespace);
            let with_own = with_own.filter(|_| views.excludes_elsewhere());
            let mut clients = likeliest
                .chain(views.of.keys())
                .chain(&views.unknown)
                .chain(with_own);
            if clients.any(see) || displaced(offer, state).is_some() {
                return Vec::new();
            }
            let by = views.trimming(&nowhere).chain(views.trimming(own));
            vec![(None, by.collect())]
        }
        Export::To(named) if named.len() > CLIENTS => Vec::new(),
        Export::To(named) => {
            // Where another object has the host, that is what hides it.
            let counts = |namespace: &&Namespace| sees(namespace, None, (offer, state));
            let blind: Vec<&Namespace> = named.iter().filter(|namespace| !see(namespace)).collect();
            let blind_only: Vec<&Namespace> = blind.iter().copied().filter(counts).collect();
            if blind.len() == named.len() && !blind_only.is_empty() {
                let by = blind_only.iter().flat_map(|namespace| views.trimming(namespace));
                return vec![(None, by.collect())];
            }
            let elsewhere = blind_only.into_iter().filter(|namespace| *namespace != own);
            elsewhere
                .map(|namespace| (Some(namespace.clone()), views.trimming(namespace).collect()))
                .collect()
        }
    }
}
