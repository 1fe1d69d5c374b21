//! Sidecars in whose place another one applies.

use std::collections::BTreeSet;

use super::{
    Conflict, Registry, Warning,
    views::{Views, chosen, id},
};
use crate::{
    export::ignored,
    istio::Sidecar,
    model::{Labels, Namespace, selects},
    objects::in_namespace,
};

/// Adds a warning for each Sidecar in whose place another one applies, to all workloads or to one that is known.
pub(super) fn warn(registry: &Registry, views: &Views, warnings: &mut BTreeSet<Warning>) {
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
