//! Whether an object comes to any rule, seen from outside: its ports are given numbers that no other object has.

use std::collections::BTreeSet;
use std::sync::Arc;

use enforcer_core::{
    istio::{Kind, Object, ObjectId, ServiceKind, ServicePort},
    model::{CgroupId, Enforcement, Labels, Namespace, Transport, Workload},
    registry::{Registry, Update, Warning},
    rule::Rule,
    settings::UdpPolicy,
};
use proptest::prelude::*;

use crate::naive::{self, World};

/// Beyond every port of a world.
const FAR: u16 = 20_000;

/// Namespaces of clients: those of the worlds, and one in which nothing is.
const CLIENTS: [&str; 4] = ["a", "b", "istio-system", "elsewhere"];

/// The world without Sidecars, with a workload in each namespace, and with the ports of `id` far from all others.
fn told_apart(world: &World, id: &ObjectId) -> World {
    let mut world = world.clone();
    world.objects.retain(|id, _| id.kind != Kind::Sidecar);
    world.workloads = (1..)
        .zip(CLIENTS)
        .map(|(cgroup, namespace)| {
            let workload = Workload {
                enforcement: Some(Enforcement::Enforce),
                ..Workload::new(Namespace::new(namespace), "client", Labels::new())
            };
            (CgroupId(cgroup), workload)
        })
        .collect();
    match world.objects.get_mut(id) {
        Some(Object::ServiceEntry(entry)) => move_ports(&mut Arc::make_mut(entry).ports),
        Some(Object::Service(service)) => move_ports(&mut Arc::make_mut(service).ports),
        _ => {}
    }
    world
}

/// The port that the proxy keeps to itself for HTTP would be another one elsewhere.
fn move_ports(ports: &mut [ServicePort]) {
    let movable = |port: &&mut ServicePort| !(port.number == 15021 && naive::is_http(port.protocol));
    for port in ports.iter_mut().filter(movable) {
        port.number += FAR;
    }
}

/// Whether it allows nothing and no warning has to say so.
fn is_ordinary(world: &World, id: &ObjectId) -> bool {
    let is_free = |port: &ServicePort| {
        port.protocol.transport() == Transport::Udp && world.settings.udp == UdpPolicy::Allow
    };
    match &world.objects[id] {
        Object::Service(service) => match &service.kind {
            ServiceKind::Headless => true,
            ServiceKind::ExternalName(target) => naive::is_offered(world, target),
            ServiceKind::ClusterIp(_) => service.ports.iter().any(is_free),
        },
        Object::ServiceEntry(entry) => entry.ports.iter().any(is_free),
        _ => true,
    }
}

fn rules(registry: &mut Registry) -> BTreeSet<Rule> {
    let desired = registry.desired();
    let own = desired.policies.iter().map(|policy| &policy.own);
    own.chain(desired.shared.values())
        .flat_map(|rules| rules.iter().copied())
        .collect()
}

/// What somebody sees has a rule or a warning, and what has the warning as a whole has no rule.
pub(crate) fn check(world: &World) -> Result<(), TestCaseError> {
    let owners = [Kind::ServiceEntry, Kind::Service];
    for id in world.objects.keys().filter(|id| owners.contains(&id.kind)) {
        let world = told_apart(world, id);
        let mut registry = Registry::new(world.settings.clone());
        world
            .updates()
            .into_iter()
            .for_each(|update: Update| registry.apply(update));
        let is_effective = rules(&mut registry).iter().any(|rule| rule.port >= FAR);
        let warnings = registry.warnings();
        let of_object = warnings.iter().filter(|warning| warning.object() == Some(id));
        let (mut as_a_whole, mut is_warned) = (false, false);
        for warning in of_object {
            match warning {
                Warning::AllowsNothing { host, .. } => {
                    as_a_whole |= host.is_none();
                    is_warned = true;
                }
                Warning::NoPorts { .. } => (as_a_whole, is_warned) = (true, true),
                _ => {}
            }
        }
        let is_seen = world
            .workloads
            .values()
            .any(|workload| naive::is_seen(&world, id, workload));
        if is_seen && !is_effective && !is_ordinary(&world, id) {
            prop_assert!(
                is_warned,
                "{} allows nothing, and nothing says so: {:?}",
                id,
                world.objects[id]
            );
        }
        prop_assert!(
            !(as_a_whole && is_effective),
            "{} allows something: {:?}",
            id,
            warnings
        );
    }
    Ok(())
}
