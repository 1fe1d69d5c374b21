//! What one workload may see of the registry.
//!
//! ```text
//! Sidecar choice and listeners -> sidecar -.
//! the offers of one host, their exports ----+-> View::imports -> the ports that count, of the namespace that wins
//! ```
//!
//! It must never look at addresses, nor at ports except those that a Sidecar names and those that merge in `scope`:
//! visibility does not depend on how a host is reached.

mod scope;
mod sidecar;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::scope::Scope;
pub(crate) use sidecar::{choose, imports, trims};

use crate::{
    export::Export,
    istio::{Bind, OutboundMode, Sidecar},
    model::{Enforcement, Mode, Namespace, Workload},
    objects::Objects,
    offer::{HostState, Import, Imported, Offer},
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
        let default = if settings.audit {
            Enforcement::Audit
        } else {
            Enforcement::Enforce
        };
        // Of a pod it is known by now, with what its namespace says.
        let enforcement = workload.enforcement;
        let enforcement = enforcement.or_else(|| objects.mode_of_namespace(&workload.namespace));
        let enforcement = enforcement.unwrap_or(default);
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

    /// The ports of a host that are visible in it, each with whether anything is behind it.
    pub(crate) fn imports<'a>(&self, state: &'a HostState) -> Vec<Import<'a>> {
        let mut imports = self.served(state);
        imports.retain(|import| import.way.bind != Bind::Local);
        imports
    }

    /// The same, and those that a proxy serves on its loopback: clients need no rule there, and the proxy dials what is
    /// behind them.
    pub(crate) fn served<'a>(&self, state: &'a HostState) -> Vec<Import<'a>> {
        let listeners = self.listeners(state);
        let scope = Scope::new(state, &listeners);
        let all = listeners.iter().flatten().flat_map(|imported| &imported.ports);
        all.map(|import| scope.judged(import)).collect()
    }

    /// The ports of a host that are visible in it, by its Sidecar's listeners. Those on its loopback count for what is
    /// behind others.
    fn listeners<'a>(&self, state: &'a HostState) -> Vec<Vec<Imported<'a>>> {
        let visible = state.offers.iter().filter(|offer| self.sees(offer)).collect();
        match self.sidecar.as_ref().filter(|sidecar| trims(sidecar)) {
            None => {
                vec![whole(winners(visible, &self.namespace))]
            }
            Some(sidecar) => (0..sidecar.egress.len())
                .map(|index| self.imported_by(sidecar, index, &visible))
                .collect(),
        }
    }

    /// The ports of a host that the listener `index` imports. The winning namespace is chosen among the services
    /// that the listener imports, as in Istio's `selectServices`.
    fn imported_by<'a>(&self, sidecar: &Sidecar, index: usize, visible: &[&'a Offer]) -> Vec<Imported<'a>> {
        let listener = &sidecar.egress[index];
        let on_listener = |import: Import<'a>| sidecar::on_listener(sidecar, index, import);
        let candidates = visible.iter().copied().filter(|offer| {
            sidecar::imports(listener, offer.namespace(), &offer.host, &self.namespace)
                && (!sidecar::needs_port(listener)
                    || offer.imports().any(|import| on_listener(import).is_some()))
        });
        let winners = winners(candidates.collect(), &self.namespace).into_iter();
        winners
            .map(|offer| Imported {
                offer,
                ports: offer.imports().filter_map(on_listener).collect(),
            })
            .collect()
    }
}

fn whole(offers: Vec<&Offer>) -> Vec<Imported<'_>> {
    offers
        .into_iter()
        .map(|offer| Imported {
            offer,
            ports: offer.imports().collect(),
        })
        .collect()
}

/// The ports of a common host that every view without a trimming Sidecar has.
pub(crate) fn common(state: &HostState) -> Vec<Import<'_>> {
    let is_public = |offer: &&Offer| offer.ignored.is_none() && offer.export == Export::Public;
    let offers: Vec<_> = state.offers.iter().filter(is_public).collect();
    let Some(first) = offers.first() else {
        return Vec::new();
    };
    let namespace = first.namespace().clone();
    let imported = [whole(winners(offers, &namespace))];
    let scope = Scope::new(state, &imported);
    let all = imported[0].iter().flat_map(|imported| &imported.ports);
    all.map(|import| scope.judged(import)).collect()
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
