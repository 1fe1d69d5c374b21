//! The Sidecars that can apply to a workload of each namespace, whatever its labels.
//!
//! **Architecture Invariant:** a Sidecar applies to some workload exactly if it applies to one that has the labels of its
//! selector and no others: an older one whose selector fits these fits all that the younger selects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::Registry;
use crate::{
    istio::{Kind, ObjectId, Sidecar},
    model::{Labels, Mode, Namespace, Workload},
    objects::in_namespace,
    offer::{HostState, Offer},
    view::{View, choose, imports, trims},
};

/// In a namespace with more Sidecars, nothing is said of these: each is held against all others.
const SIDECARS: usize = 100;

/// The Sidecars that can apply in each namespace that has any; none of them in the list is a workload without one.
pub(super) struct Views {
    pub(super) of: BTreeMap<Namespace, Vec<Option<Arc<Sidecar>>>>,
    /// Those in which there are too many to look at.
    pub(super) unknown: BTreeSet<Namespace>,
    /// What applies in all other namespaces.
    pub(super) elsewhere: Option<Arc<Sidecar>>,
}

impl Views {
    pub(super) fn new(registry: &Registry) -> Self {
        let nowhere = Namespace::new("");
        let mut views = Self {
            of: BTreeMap::new(),
            unknown: BTreeSet::new(),
            elsewhere: chosen(registry, &nowhere, &Labels::new()),
        };
        let namespaces: BTreeSet<&Namespace> = registry
            .objects
            .sidecars
            .keys()
            .map(|key| &key.namespace)
            .collect();
        for namespace in namespaces {
            let sidecars = in_namespace(&registry.objects.sidecars, namespace);
            if sidecars.count() > SIDECARS {
                views.unknown.insert(namespace.clone());
                continue;
            }
            // Whichever labels a workload has: those of the selector that it fits, and more, change nothing.
            let selectors =
                in_namespace(&registry.objects.sidecars, namespace).filter_map(|it| it.selector.clone());
            let labels: BTreeSet<Labels> = selectors.chain([Labels::new()]).collect();
            let mut can_apply: Vec<Option<Arc<Sidecar>>> = Vec::new();
            for sidecar in labels.iter().map(|labels| chosen(registry, namespace, labels)) {
                if !can_apply.contains(&sidecar) {
                    can_apply.push(sidecar);
                }
            }
            views.of.insert(namespace.clone(), can_apply);
        }
        views
    }

    fn of(&self, namespace: &Namespace) -> &[Option<Arc<Sidecar>>] {
        self.of
            .get(namespace)
            .map_or(std::slice::from_ref(&self.elsewhere), Vec::as_slice)
    }

    /// Whether what applies where no namespace has a Sidecar of its own keeps something out.
    pub(super) fn excludes_elsewhere(&self) -> bool {
        let listeners = self.elsewhere.iter().flat_map(|sidecar| &sidecar.egress);
        listeners.flat_map(|it| &it.hosts).any(|host| !host.imports)
    }

    /// Whether a workload of the namespace could see it.
    pub(super) fn see(&self, namespace: &Namespace, offer: &Offer, state: &HostState) -> bool {
        self.unknown.contains(namespace)
            || self
                .of(namespace)
                .iter()
                .any(|sidecar| sees(namespace, sidecar.clone(), (offer, state)))
    }

    /// The Sidecars that leave something out there.
    pub(super) fn trimming(&self, namespace: &Namespace) -> impl Iterator<Item = ObjectId> {
        let sidecars = self.of(namespace).iter().flatten();
        sidecars
            .filter(|sidecar| trims(sidecar))
            .map(|sidecar| id(sidecar))
    }
}

/// The Sidecar of a workload with these labels.
pub(super) fn chosen(registry: &Registry, namespace: &Namespace, labels: &Labels) -> Option<Arc<Sidecar>> {
    let workload = Workload::new(namespace.clone(), "", labels.clone());
    choose(&workload, &registry.objects, &registry.settings)
}

/// Whether a workload of the namespace that has this Sidecar sees it.
pub(super) fn sees(
    namespace: &Namespace,
    sidecar: Option<Arc<Sidecar>>,
    (offer, state): (&Offer, &HostState),
) -> bool {
    if let Some(sidecar) = sidecar.as_ref().filter(|sidecar| trims(sidecar)) {
        let (of, host) = (offer.namespace(), &offer.host);
        let mut listeners = sidecar.egress.iter();
        if !listeners.any(|listener| imports(listener, of, host, namespace)) {
            return false;
        }
    }
    let view = View {
        namespace: namespace.clone(),
        sidecar,
        mode: Mode::Enforce,
        asks_node: false,
        has_proxy: false,
    };
    let served = view.served(state);
    view.sees(offer) && served.iter().any(|import| std::ptr::eq(import.offer, offer))
}

pub(super) fn id(sidecar: &Sidecar) -> ObjectId {
    ObjectId {
        kind: Kind::Sidecar,
        namespace: sidecar.meta.namespace.clone(),
        name: sidecar.meta.name.clone(),
    }
}
