//! What Sidecars hide: hosts of entries that nobody sees for them, and Sidecars that others keep from applying.
//!
//! ```text
//! Sidecars -> for each namespace those that can apply to a workload of it -> hosts that none of them imports -> Conflict
//! ```
//!
//! **Architecture Invariant:** a host is hidden from all exactly if it counts where no Sidecar applies, and in no view of
//! a workload that there could be, whatever its namespace and labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Conflict, Registry, Warning,
    ineffective::{displaced, is_seen},
};
use crate::{
    export::{Export, ignored},
    istio::{Kind, ObjectId, Sidecar},
    model::{Host, Labels, Mode, Namespace, Workload, selects},
    objects::{Owner, in_namespace},
    offer::{HostState, Offer},
    view::{View, choose, trims},
};

/// In a namespace with more Sidecars, nothing is said of these: each is held against all others.
const SIDECARS: usize = 200;

/// The Sidecars that can apply in each namespace that has any; none of them in the list is a workload without one.
struct Views {
    of: BTreeMap<Namespace, Vec<Option<Arc<Sidecar>>>>,
    /// Those in which there are too many to look at.
    unknown: BTreeSet<Namespace>,
    /// What applies in all other namespaces.
    elsewhere: Option<Arc<Sidecar>>,
}

/// Adds all warnings about what Sidecars hide.
pub(super) fn warn(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    if registry.objects.sidecars.is_empty() {
        return;
    }
    let views = Views::new(registry);
    warn_of_sidecars(registry, &views, warnings);
    warn_of_hosts(registry, &views, warnings);
}

impl Views {
    fn new(registry: &Registry) -> Self {
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

    /// Whether a workload of the namespace could see it.
    fn see(&self, namespace: &Namespace, offer: &Offer, state: &HostState) -> bool {
        self.unknown.contains(namespace)
            || self
                .of(namespace)
                .iter()
                .any(|sidecar| sees(namespace, sidecar.clone(), (offer, state)))
    }

    /// The Sidecars that leave something out there.
    fn trimming(&self, namespace: &Namespace) -> impl Iterator<Item = ObjectId> {
        let sidecars = self.of(namespace).iter().flatten();
        sidecars
            .filter(|sidecar| trims(sidecar))
            .map(|sidecar| id(sidecar))
    }
}

fn chosen(registry: &Registry, namespace: &Namespace, labels: &Labels) -> Option<Arc<Sidecar>> {
    let workload = Workload::new(namespace.clone(), "", labels.clone());
    choose(&workload, &registry.objects, &registry.settings)
}

fn sees(namespace: &Namespace, sidecar: Option<Arc<Sidecar>>, (offer, state): (&Offer, &HostState)) -> bool {
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

/// Which hosts of each entry are hidden, and from whom: None stands for everybody.
type Hidden = BTreeMap<(ObjectId, Option<Namespace>), (BTreeSet<Host>, BTreeSet<ObjectId>)>;

fn warn_of_hosts(registry: &Registry, views: &Views, warnings: &mut BTreeSet<Warning>) {
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
            let mut clients = likeliest.chain(views.of.keys()).chain(&views.unknown);
            if clients.any(see) || displaced(offer, state).is_some() {
                return Vec::new();
            }
            let by = views.trimming(&nowhere).chain(views.trimming(own));
            vec![(None, by.collect())]
        }
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

/// Adds a warning for each Sidecar in whose place another one applies, to all workloads or to one that is known.
fn warn_of_sidecars(registry: &Registry, views: &Views, warnings: &mut BTreeSet<Warning>) {
    let (objects, settings) = (&registry.objects, &registry.settings);
    let mesh = objects.mesh(&settings.revision);
    for namespace in views.of.keys() {
        let all = in_namespace(&objects.sidecars, namespace);
        let all: Vec<_> = all
            .filter(|sidecar| ignored(&sidecar.meta, &settings.revision, mesh, objects).is_none())
            .collect();
        let mut selecting = Vec::new();
        for sidecar in all {
            let is_default = sidecar.selector.is_none() && *namespace == mesh.root_namespace;
            let used = if is_default {
                views.elsewhere.clone()
            } else {
                chosen(registry, namespace, &sidecar.selector.clone().unwrap_or_default())
            };
            match used {
                Some(used) if used != *sidecar => {
                    let (unused, used) = (id(sidecar), id(&used));
                    warnings.insert(Warning::Conflict(Conflict::SidecarUnused { unused, used }));
                }
                _ if sidecar.selector.is_some() => selecting.push(&**sidecar),
                _ => {}
            }
        }
        if selecting.len() > 1 {
            warn_of_overlaps(registry, (namespace, selecting), warnings);
        }
    }
}

/// Of the Sidecars of a namespace, those that select a workload which another one has. The labels that both select name
/// it, which do not change as pods come and go.
fn warn_of_overlaps(
    registry: &Registry,
    (namespace, mut selecting): (&Namespace, Vec<&Sidecar>),
    warnings: &mut BTreeSet<Warning>,
) {
    let age = |sidecar: &Sidecar| (sidecar.meta.created, sidecar.meta.name.clone());
    selecting.sort_by_cached_key(|sidecar| age(sidecar));
    let selector = |sidecar: &Sidecar| sidecar.selector.clone().unwrap_or_default();
    let pods = in_namespace(&registry.objects.pods, namespace).map(|pod| &pod.meta.labels);
    let workloads = registry.workloads.values();
    let workloads = workloads.filter(|workload| workload.namespace == *namespace);
    let all: BTreeSet<&Labels> = pods.chain(workloads.map(|workload| &workload.labels)).collect();
    for labels in all {
        let fits = |sidecar: &&&Sidecar| sidecar.selector.as_ref().is_some_and(|it| selects(it, labels));
        let mut fitting = selecting.iter().filter(fits);
        let Some(used) = fitting.next() else {
            continue;
        };
        for unused in fitting {
            let mut both = selector(used);
            both.extend(selector(unused));
            let labels: Vec<_> = both.iter().map(|(key, value)| format!("{key}={value}")).collect();
            warnings.insert(Warning::Conflict(Conflict::SidecarsOverlap {
                unused: id(unused),
                used: id(used),
                labels: labels.join(","),
            }));
        }
    }
}

fn id(sidecar: &Sidecar) -> ObjectId {
    ObjectId {
        kind: Kind::Sidecar,
        namespace: sidecar.meta.namespace.clone(),
        name: sidecar.meta.name.clone(),
    }
}
