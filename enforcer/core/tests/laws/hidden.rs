//! What nobody sees, worked out by asking every workload that there could be.

use std::collections::BTreeSet;

use enforcer_core::{
    istio::{Kind, Object, ObjectId},
    model::{Host, Labels, Namespace, Workload},
    registry::{Conflict, Registry, Warning},
};
use proptest::prelude::*;

use crate::naive::{self, Of, World};

/// Namespaces of clients: those of the worlds, and one in which nothing is.
const CLIENTS: [&str; 4] = ["a", "b", "istio-system", "elsewhere"];

/// A workload with each set of labels that a selector of the worlds can tell apart.
fn workloads_of(namespace: &Namespace) -> Vec<Workload> {
    let mut workloads = Vec::new();
    for app in [None, Some("web"), Some("db")] {
        for version in [None, Some("1")] {
            let pairs = [("app", app), ("version", version)].into_iter();
            let pairs = pairs.filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
            let labels: Labels = pairs.collect();
            workloads.push(Workload::new(namespace.clone(), "client", labels));
        }
    }
    workloads
}

fn everybody() -> Vec<Workload> {
    let namespaces = CLIENTS.into_iter().map(Namespace::new);
    namespaces
        .flat_map(|namespace| workloads_of(&namespace))
        .collect()
}

/// Whether a port of the entry's host is imported for a workload.
fn sees(world: &World, workload: &Workload, (id, host): (&ObjectId, &Host)) -> bool {
    let offers = naive::offers(world);
    naive::listeners(world, workload).iter().any(|listener| {
        let winners = naive::winners(world, workload, listener, naive::of_host(&offers, host));
        winners.iter().any(|offer| {
            let is_it = matches!(offer.of, Of::Entry(_))
                && (&offer.meta.namespace, &offer.meta.name) == (&id.namespace, &id.name);
            is_it && offer.ports.iter().any(|port| naive::is_on(listener, port))
        })
    })
}

/// A host of an entry is said to be hidden exactly if somebody would see it without Sidecars and nobody does with them;
/// a Sidecar to be unused exactly if no workload has it; and an object to be displaced only where another one counts.
pub(crate) fn check(world: &World) -> Result<(), TestCaseError> {
    let mut registry = Registry::new(world.settings.clone());
    world
        .updates()
        .into_iter()
        .for_each(|update| registry.apply(update));
    let mut plain = world.clone();
    plain.objects.retain(|id, _| id.kind != Kind::Sidecar);
    let (mut hidden, mut unused) = (BTreeSet::new(), BTreeSet::new());
    for warning in registry.warnings() {
        match warning {
            Warning::Conflict(Conflict::HiddenFromAll { entry, hosts, by }) => {
                prop_assert!(!by.is_empty(), "{} is hidden by nobody", entry);
                hidden.extend(hosts.into_iter().map(|host| (entry.clone(), host)));
            }
            Warning::Conflict(Conflict::HiddenIn {
                entry,
                hosts,
                namespace,
                by,
            }) => {
                prop_assert!(!by.is_empty(), "{} is hidden by nobody", entry);
                for (host, workload) in hosts
                    .iter()
                    .flat_map(|host| workloads_of(&namespace).into_iter().map(move |it| (host, it)))
                {
                    prop_assert!(
                        !sees(world, &workload, (&entry, host)),
                        "{} sees {} of {}",
                        workload,
                        host,
                        entry
                    );
                    prop_assert!(
                        sees(&plain, &workload, (&entry, host)),
                        "{} is not {}'s to see",
                        host,
                        workload
                    );
                }
            }
            Warning::Conflict(Conflict::SidecarUnused { unused: sidecar, .. }) => {
                unused.insert(sidecar);
            }
            Warning::Conflict(Conflict::Displaced {
                loser,
                hosts,
                namespaces,
                ..
            }) if loser.kind == Kind::ServiceEntry => {
                let clients = namespaces.iter().flat_map(workloads_of);
                let clients: Vec<_> = clients.collect();
                for (host, workload) in hosts
                    .iter()
                    .flat_map(|host| clients.iter().map(move |it| (host, it)))
                {
                    prop_assert!(
                        !sees(&plain, workload, (&loser, host)),
                        "{} sees {} of {}",
                        workload,
                        host,
                        loser
                    );
                }
            }
            _ => {}
        }
    }
    for (id, object) in &world.objects {
        match object {
            Object::ServiceEntry(entry) => {
                for host in &entry.hosts {
                    let any = |world: &World| {
                        everybody()
                            .iter()
                            .any(|workload| sees(world, workload, (id, host)))
                    };
                    let is_hidden = !any(world) && any(&plain);
                    prop_assert_eq!(
                        hidden.contains(&(id.clone(), host.clone())),
                        is_hidden,
                        "{} of {}",
                        host,
                        id
                    );
                }
            }
            Object::Sidecar(_) if naive::counts(world, object) => {
                let has = |workload: &Workload| {
                    let sidecar = naive::sidecar(world, workload);
                    sidecar.is_some_and(|it| (&it.meta.namespace, &it.meta.name) == (&id.namespace, &id.name))
                };
                prop_assert_eq!(unused.contains(id), !everybody().iter().any(has), "{}", id);
            }
            _ => {}
        }
    }
    Ok(())
}
