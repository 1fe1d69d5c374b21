//! Exports that do not come to what they say: to namespaces where another namespace's object has the host, and to those
//! that do not exist.
//!
//! **Architecture Invariant:** a namespace that has a host of its own is meant to have it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Conflict, Registry, Warning, conflicting::OTHERS, ineffective::is_seen};
use crate::{
    istio::ObjectId,
    model::{Host, Namespace},
    offer::{HostState, Offer},
    view::winners,
};

/// How many namespaces that exports name are looked at for one host. An author can write thousands.
pub(super) const CLIENTS: usize = 100;

/// Who does not count, beside whom, for which hosts, and where.
type Displaced = BTreeMap<(ObjectId, ObjectId), (BTreeSet<Host>, BTreeSet<Namespace>)>;

/// What other warnings say: an object does not count, all of it or one host, anywhere or beside one other.
type Said = BTreeSet<(ObjectId, Option<Host>, Option<ObjectId>)>;

/// Adds warnings about objects that another one displaces in namespaces which an export names.
pub(super) fn warn_of_winners(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let said = said(warnings);
    let mut displaced = Displaced::new();
    for (host, state) in registry.states.iter().filter(|(_, state)| state.offers.len() > 1) {
        add_displaced((host, state), &said, &mut displaced);
    }
    for ((loser, winner), (hosts, namespaces)) in displaced {
        warnings.insert(Warning::Conflict(Conflict::Displaced {
            loser,
            winner,
            hosts,
            namespaces,
        }));
    }
}

fn said(warnings: &BTreeSet<Warning>) -> Said {
    let said = warnings.iter().filter_map(|warning| match warning {
        Warning::Displaced { host, winner, loser } => {
            Some((loser.clone(), Some(host.clone()), Some(winner.clone())))
        }
        Warning::AllowsNothing { object, host, causes } => {
            let mut causes = causes.iter();
            let is_displaced = causes.any(|cause| matches!(cause, Cause::Displaced(_)));
            is_displaced.then(|| (object.clone(), host.clone(), None))
        }
        _ => None,
    });
    said.collect()
}

fn add_displaced((host, state): (&Host, &HostState), said: &Said, displaced: &mut Displaced) {
    let seen: Vec<&Offer> = state.offers.iter().filter(|offer| is_seen(offer)).collect();
    let named: BTreeSet<&Namespace> = seen.iter().flat_map(|offer| offer.export.named()).collect();
    for client in named.into_iter().take(CLIENTS) {
        let visible = seen.iter().copied().filter(|offer| offer.export.includes(client));
        let visible: Vec<&Offer> = visible.collect();
        let winners = winners(visible.clone(), client);
        let Some(winner) = winners.first().filter(|winner| winner.namespace() != client) else {
            continue;
        };
        let of_others = |offer: &&&Offer| offer.namespace() != winner.namespace();
        for loser in visible.iter().filter(of_others).take(OTHERS) {
            let (winner, loser) = (winner.owner.id(), loser.owner.id());
            let is_said = |host, by| said.contains(&(loser.clone(), host, by));
            let of_host = || Some(host.clone());
            if !is_said(None, None) && !is_said(of_host(), None) && !is_said(of_host(), Some(winner.clone()))
            {
                let (hosts, namespaces) = displaced.entry((loser, winner)).or_default();
                hosts.insert(host.clone());
                namespaces.insert(client.clone());
            }
        }
    }
}

/// Adds warnings about exports to namespaces that do not exist. Where no Namespace is known, nobody can say so; one in
/// which any object or workload is exists.
pub(super) fn warn_of_nowhere(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let objects = &registry.objects;
    if objects.namespaces.is_empty() {
        return;
    }
    let mut known = objects.inhabited();
    let workloads = registry.workloads.values();
    known.extend(workloads.map(|workload| workload.namespace.as_str()));
    for offer in registry.states.values().flat_map(|state| &state.offers) {
        let named = offer.export.named();
        let nowhere = named.filter(|namespace| !known.contains(namespace.as_str()));
        let namespaces: BTreeSet<Namespace> = nowhere.cloned().collect();
        if offer.ignored.is_none() && !namespaces.is_empty() {
            let object = offer.owner.id();
            warnings.insert(Warning::Conflict(Conflict::ExportedToNowhere {
                object,
                namespaces,
            }));
        }
    }
}
