//! What one workload may see of the registry.
//!
//! ```text
//! Sidecar choice and listeners -> sidecar -.
//! the offers of one host, their exports ----+-> View::imports -> the ports that count, of the namespace that wins
//! ```
//!
//! It must never look at addresses or ports, except those that a Sidecar names: visibility does not depend on
//! how a host is reached.

mod sidecar;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use sidecar::{choose, trims};

use crate::{
    export::Export,
    istio::{OutboundMode, Sidecar},
    model::{Enforcement, Mode, Namespace, Workload},
    objects::Objects,
    offer::{HostState, Import, Offer},
    policy::Shared,
    settings::Settings,
};

/// Everything that determines what a workload sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) namespace: Namespace,
    pub(crate) sidecar: Option<Arc<Sidecar>>,
    pub(crate) mode: Mode,
    /// Whether the resolvers of the node are reached in it.
    pub(crate) asks_node: bool,
    /// Whether what stands behind its ports is reached in it.
    pub(crate) has_proxy: bool,
}

impl View {
    /// The view of `workload`.
    pub(crate) fn new(workload: &Workload, objects: &Objects, settings: &Settings) -> Self {
        let sidecar = choose(workload, objects, settings);
        let mesh = objects.mesh(&settings.revision);
        let outbound = sidecar.as_ref().and_then(|sidecar| sidecar.mode).or(mesh.mode);
        let enforcement = workload.enforcement.unwrap_or(if settings.audit {
            Enforcement::Audit
        } else {
            Enforcement::Enforce
        });
        let mode = match (enforcement, outbound.unwrap_or(settings.mode)) {
            (Enforcement::Off, _) => Mode::Off,
            (_, OutboundMode::AllowAny) => Mode::Observe,
            (Enforcement::Audit, OutboundMode::RegistryOnly) => Mode::Audit,
            (Enforcement::Enforce, OutboundMode::RegistryOnly) => Mode::Enforce,
        };
        Self {
            namespace: workload.namespace.clone(),
            sidecar,
            mode,
            asks_node: workload.asks_node,
            has_proxy: workload.has_proxy,
        }
    }

    /// Whether its Sidecar hides anything that is exported to the workload.
    pub(crate) fn is_trimmed(&self) -> bool {
        self.sidecar.as_ref().is_some_and(|sidecar| trims(sidecar))
    }

    /// Whether it equals `other`, ignoring the mode.
    pub(crate) fn sees_as(&self, other: &Self) -> bool {
        let what = |view: &Self| (view.asks_node, view.has_proxy);
        (&self.namespace, &self.sidecar, what(self)) == (&other.namespace, &other.sidecar, what(other))
    }

    /// Which rules it has in common with others; none if its Sidecar hides anything.
    pub(crate) fn shares(&self) -> Option<Shared> {
        match (self.is_trimmed(), self.has_proxy) {
            (true, _) => None,
            (false, false) => Some(Shared::Plain),
            (false, true) => Some(Shared::Proxied),
        }
    }

    /// Whether `offer` is exported to it.
    pub(crate) fn sees(&self, offer: &Offer) -> bool {
        offer.ignored.is_none() && offer.export.includes(&self.namespace)
    }

    /// The ports of a host that are visible in it.
    pub(crate) fn imports<'a>(&self, state: &'a HostState) -> Vec<Import<'a>> {
        let visible = state.offers.iter().filter(|offer| self.sees(offer));
        let mut imports = Vec::new();
        match self.sidecar.as_ref().filter(|sidecar| trims(sidecar)) {
            None => {
                for offer in winners(visible.collect(), &self.namespace) {
                    imports.extend(offer.imports());
                }
            }
            Some(sidecar) => {
                let visible: Vec<_> = visible.collect();
                for index in 0..sidecar.egress.len() {
                    imports.extend(self.behind(sidecar, index, &visible));
                }
            }
        }
        imports
    }

    /// The ports of a host that the listener `index` imports. The winning namespace is chosen among the services
    /// that the listener imports, as in Istio's `selectServices`.
    fn behind<'a>(&self, sidecar: &Sidecar, index: usize, visible: &[&'a Offer]) -> Vec<Import<'a>> {
        let listener = &sidecar.egress[index];
        if listener.is_bound {
            // The application dials the listener's own address, which is its loopback.
            return Vec::new();
        }
        let behind = |import: Import<'a>| {
            let port = &import.offer.owner.ports()[import.port];
            let protocol = sidecar::protocol_behind(sidecar, index, port.number, port.protocol)?;
            Some(Import { protocol, ..import })
        };
        let candidates = visible.iter().copied().filter(|offer| {
            sidecar::imports(listener, offer.namespace(), &offer.host, &self.namespace)
                && (listener.port.is_none() || offer.imports().any(|import| behind(import).is_some()))
        });
        let winners = winners(candidates.collect(), &self.namespace).into_iter();
        winners
            .flat_map(|offer| offer.imports().filter_map(behind))
            .collect()
    }
}

/// The ports of a common host that every view without a trimming Sidecar has.
pub(crate) fn common(state: &HostState) -> Vec<Import<'_>> {
    let is_public = |offer: &&Offer| offer.ignored.is_none() && offer.export == Export::Public;
    let offers: Vec<_> = state.offers.iter().filter(is_public).collect();
    let Some(first) = offers.first() else {
        return Vec::new();
    };
    let namespace = first.namespace().clone();
    let winners = winners(offers, &namespace);
    winners.into_iter().flat_map(Offer::imports).collect()
}

/// The offers of one host by the namespace that wins the host for clients in the namespace `own`.
///
/// The client's own namespace wins; else that of a Kubernetes Service; else that of the first offer. Offers
/// exported to the client by name come before public ones, each in order of age. If the winning namespace has
/// a Service for the host, its ServiceEntries do not count.
pub(crate) fn winners<'a>(mut offers: Vec<&'a Offer>, own: &Namespace) -> Vec<&'a Offer> {
    fn rank<'a>(offer: &'a Offer, own: &Namespace) -> impl Ord + use<'a> {
        (
            offer.namespace() != own,
            !offer.owner.is_service(),
            offer.export == Export::Public,
            offer.age(),
        )
    }
    let Some(winner) = offers.iter().min_by(|a, b| rank(a, own).cmp(&rank(b, own))) else {
        return offers;
    };
    let winner = winner.namespace();
    offers.retain(|offer| offer.namespace() == winner);
    if offers.iter().any(|offer| offer.owner.is_service()) {
        offers.retain(|offer| offer.owner.is_service());
    }
    offers
}
