//! What the daemon has inside, for the support bundle.

use enforcer_common::CgroupId;
use enforcer_core::model::Workload;
use serde_json::{Value, json};

use crate::{
    control::{Inside, Listing, NamedIn, described, held},
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::Words,
};

/// All that the owner knows. What the kernel does not tell is said in its place.
pub(in crate::daemon) fn inside(ingest: &mut Ingest, reconciler: &Reconciler) -> Inside {
    let objects = ingest.registry().objects();
    let objects = objects.collect::<Vec<_>>();
    let mut listed = Listing::default();
    for object in &objects {
        listed.push(|| described(object, &ingest.origin(&object.id())));
    }
    let warnings = ingest.of_registry();
    let warning = |warning: &enforcer_core::registry::Warning| json!({ "object": warning.object().map(ToString::to_string), "warning": warning.to_string() });
    let mut inside = Inside {
        objects: listed,
        warnings: warnings.iter().map(warning).collect(),
        workloads: workloads(ingest),
        ..Inside::default()
    };
    add_maps(&mut inside, ingest, reconciler);
    inside
}

fn workloads(ingest: &mut Ingest) -> Listing {
    let there = ingest.cgroups().clone();
    let row = |(id, workload): (CgroupId, &Workload)| {
        json!({
            "cgroup": id.0,
            "path": there.get(&id).map(|cgroup| cgroup.path.display().to_string()),
            "namespace": workload.namespace.as_str(),
            "workload": workload.name,
            "labels": workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            "mode": workload.enforcement.map(|mode| mode.to_string()),
        })
    };
    ingest.registry().workloads().map(row).collect()
}

fn add_maps(inside: &mut Inside, ingest: &mut Ingest, reconciler: &Reconciler) {
    let counters = reconciler.counters().unwrap_or_default();
    let counters = counters
        .iter()
        .map(|(counter, count)| (format!("{counter:?}"), (*count).into()));
    let counters: serde_json::Map<String, Value> = counters.collect();
    inside.summary = json!({
        "upToDate": reconciler.has_planned(ingest),
        "settings": format!("{:?}", reconciler.settings()),
        "features": format!("{:?}", reconciler.features()),
        "counters": counters,
    });
    let (maps, pending) = match reconciler.compared() {
        Ok(compared) => compared,
        Err(error) => {
            inside.summary["error"] = format!("{error:#}").into();
            return;
        }
    };
    let known = ingest.registry().workloads();
    let known: std::collections::BTreeMap<_, _> = known
        .map(|(cgroup, workload)| (cgroup, workload.to_string()))
        .collect();
    let workload = |cgroup: CgroupId| match known.get(&cgroup) {
        Some(name) => name.clone(),
        None if reconciler.is_canary(cgroup) => "the canary".to_owned(),
        None => format!("cgroup {}", cgroup.0),
    };
    let registry = ingest.registry();
    let host = |id| registry.host(id).map(|host| host.to_string());
    let (counts, listing) = held(&maps, NamedIn { workload, host });
    inside.summary["counts"] = counts;
    inside.summary["asWritten"] = (maps == *reconciler.applied()).into();
    inside.maps = listing;
    inside.pending = pending
        .iter()
        .map(|change| Words(change).to_string().into())
        .collect();
}
