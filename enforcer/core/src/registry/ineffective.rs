//! Objects that allow nothing, whoever looks, and why.
//!
//! ```text
//! states (each host with its offers) -> offers whose ports grant no rule, or that count nowhere -> Cause -> Warning
//! ```
//!
//! **Architecture Invariant:** an object that somebody sees, and whose ports come to no rule in any view without a
//! Sidecar, has a warning. What is left out is what [`is_ordinary`] names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Registry, Warning};
use crate::{
    grant::{Facts, is_reserved, is_unix, selects_nothing},
    istio::{ObjectId, ServiceKind, ServicePort},
    model::{Host, Mode, Namespace, Transport},
    objects::Owner,
    offer::{HostState, Offer},
    settings::UdpPolicy,
    view::{View, winners},
};

/// Which hosts of each object come to no rule, and why.
type Found = BTreeMap<ObjectId, (usize, Vec<(Host, BTreeSet<Cause>)>)>;

/// Adds a warning for each object, or for each host of an object, that comes to no rule in any view without a Sidecar.
pub(super) fn warn(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let facts = registry.facts();
    let mut found = Found::new();
    for (host, state) in &registry.states {
        for offer in state.offers.iter().filter(|offer| is_seen(offer)) {
            let causes = causes(registry, offer, (state, &facts));
            if causes.is_empty() {
                continue;
            }
            let of_object = found
                .entry(offer.owner.id())
                .or_insert_with(|| (hosts(&offer.owner), Vec::new()));
            of_object.1.push((host.clone(), causes));
        }
    }
    for (object, (hosts, ineffective)) in found {
        let mut different = ineffective
            .iter()
            .map(|(_, causes)| causes)
            .collect::<BTreeSet<_>>();
        if ineffective.len() == hosts
            && different.len() == 1
            && let Some(causes) = different.pop_first().cloned()
        {
            warnings.insert(Warning::AllowsNothing {
                object,
                host: None,
                causes,
            });
            continue;
        }
        for (host, causes) in ineffective {
            let (object, host) = (object.clone(), Some(host));
            warnings.insert(Warning::AllowsNothing { object, host, causes });
        }
    }
}

/// Whether any namespace sees it.
pub(super) fn is_seen(offer: &Offer) -> bool {
    offer.ignored.is_none() && !offer.export.is_nobody()
}

fn hosts(owner: &Owner) -> usize {
    match owner {
        Owner::Service(_) => 1,
        Owner::Entry(entry) => entry.hosts.iter().collect::<BTreeSet<_>>().len(),
    }
}

/// Why an offer comes to no rule; empty if it does, if another warning says why not, or if that is ordinary.
fn causes(registry: &Registry, offer: &Offer, (state, facts): (&HostState, &Facts<'_>)) -> BTreeSet<Cause> {
    if let Some(by) = displaced(offer, state) {
        return [Cause::Displaced(by)].into();
    }
    if is_ordinary(registry, &offer.owner) {
        return BTreeSet::new();
    }
    if let Owner::Service(service) = &offer.owner {
        match &service.kind {
            ServiceKind::ExternalName(target) => return [Cause::Alias(target.clone())].into(),
            _ if service.ports.is_empty() => return [Cause::NoPorts].into(),
            _ => {}
        }
    }
    let is_allowed = |port: &ServicePort| is_udp(port) && facts.settings.udp == UdpPolicy::Allow;
    if offer.owner.ports().iter().any(is_allowed) || counts(offer, state, facts) {
        return BTreeSet::new();
    }
    let ports = offer.owner.ports().iter().zip(&offer.grants);
    ports
        .map(|(port, of_port)| {
            let selects = matches!(&offer.owner, Owner::Entry(entry) if !selects_nothing(entry, facts));
            if selects && !of_port.grants.is_empty() {
                Cause::NothingBehind
            } else {
                cause(offer, port, facts)
            }
        })
        .collect()
}

/// Whether it comes to a rule in a namespace that sees it.
fn counts(offer: &Offer, state: &HostState, facts: &Facts<'_>) -> bool {
    if offer.grants.iter().all(|of_port| of_port.grants.is_empty()) {
        return false;
    }
    clients(offer, state).into_iter().any(|namespace| {
        let view = View {
            namespace,
            sidecar: None,
            mode: Mode::Enforce,
            asks_node: false,
            has_proxy: false,
        };
        let imports = view.imports(state);
        let mut own = imports.iter().filter(|import| std::ptr::eq(import.offer, offer));
        own.any(|import| !import.grants(facts).grants.is_empty())
    })
}

/// The namespaces that see it and may differ, the likeliest to find it first: its own, one without a name, which stands
/// for all that no object names, others', and those that are named.
fn clients(offer: &Offer, state: &HostState) -> Vec<Namespace> {
    let named = state.offers.iter().flat_map(|offer| offer.export.named());
    let others: BTreeSet<&Namespace> = state.offers.iter().map(Offer::namespace).chain(named).collect();
    let first = [offer.namespace().clone(), Namespace::new("")];
    let all = first.into_iter().chain(others.into_iter().cloned());
    all.filter(|namespace| offer.export.includes(namespace)).collect()
}

/// What allows nothing and is meant so: a headless Service whose pods are not there, and an alias of what is registered.
fn is_ordinary(registry: &Registry, owner: &Owner) -> bool {
    let Owner::Service(service) = owner else {
        return false;
    };
    match &service.kind {
        ServiceKind::Headless => true,
        ServiceKind::ExternalName(target) => {
            let wildcards = registry.owners.wildcards_over(target);
            let mut hosts = wildcards.iter().chain([target]);
            hosts.any(|host| {
                let state = registry.states.get(host);
                state.is_some_and(|state| state.offers.iter().any(|offer| offer.ignored.is_none()))
            })
        }
        ServiceKind::ClusterIp(_) => false,
    }
}

fn cause(offer: &Offer, port: &ServicePort, facts: &Facts<'_>) -> Cause {
    if is_udp(port) && facts.settings.udp == UdpPolicy::DnsOnly {
        return Cause::UdpRefused;
    }
    if is_reserved(port.number, port.protocol) {
        return Cause::Reserved;
    }
    match &offer.owner {
        Owner::Service(_) => Cause::NoAddress,
        Owner::Entry(entry) if is_unix(entry) => Cause::UnixSockets,
        Owner::Entry(entry) if selects_nothing(entry, facts) => Cause::NothingSelected,
        Owner::Entry(_) if offer.host.is_wildcard() && !facts.settings.learns => Cause::Unlearned,
        Owner::Entry(_) => Cause::Unresolved,
    }
}

fn is_udp(port: &ServicePort) -> bool {
    port.protocol.transport() == Transport::Udp
}

/// The object that has the host in every namespace that sees `offer`; None if `offer` counts in one of them.
pub(super) fn displaced(offer: &Offer, state: &HostState) -> Option<ObjectId> {
    if state.offers.len() < 2 {
        return None;
    }
    let mut by = None;
    for namespace in clients(offer, state) {
        let is_visible = |other: &&Offer| other.ignored.is_none() && other.export.includes(&namespace);
        let winners = winners(state.offers.iter().filter(is_visible).collect(), &namespace);
        if winners.iter().any(|winner| std::ptr::eq(*winner, offer)) {
            return None;
        }
        by = by.or_else(|| winners.first().map(|winner| winner.owner.id()));
    }
    by
}
