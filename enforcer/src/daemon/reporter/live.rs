//! What the kernel decides on a destination of a workload, and by which addresses, for the control socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Result, anyhow, bail};
use enforcer_common::CgroupId;
use enforcer_core::{
    explain::{Explanation, Named, Target},
    model::{Destination, Host, Transport, Workload},
    registry::Registry,
};
use ipnet::IpNet;

use crate::{
    control::{AboutLive, Explained, Found, HeldAddress, MOST_NAMES, NameSource},
    daemon::{ingest::Ingest, reconciler::Reconciler},
    datapath::Life,
};

/// Most workloads that are named where another is asked for.
const NAMED: usize = 20;

/// The verdict of what the maps hold, with the addresses that are held for it.
///
/// # Errors
/// If there is no such workload, or the kernel does not say.
pub(in crate::daemon) fn explain_live(
    about: &AboutLive,
    ingest: &mut Ingest,
    reconciler: &Reconciler,
) -> Result<Explained> {
    let target = Target::parse(&about.destination, Transport::Tcp).map_err(|wrong| anyhow!(wrong))?;
    let (cgroup, workload) = meant(about, ingest, reconciler)?;
    let mut held = match &target {
        Target::Address(to) => of_address(ingest.registry(), to.address),
        Target::Host(named) => of_host(ingest.registry(), &named.host),
    };
    held.add_learned(&target, cgroup, (&mut *ingest, reconciler))?;
    let registry = ingest.registry();
    let found = match &target {
        Target::Address(to) => vec![(
            Some(to.address),
            at(*to, None, (cgroup, &mut *registry, reconciler)),
        )],
        Target::Host(named) => of_each(named, &held, (cgroup, &mut *registry, reconciler), &workload),
    };
    let by = (&workload, registry.settings().matching);
    let mut explained = Explained::new(by, (&about.destination, &target), &found);
    if let Target::Address(to) = &target {
        let mut names = registry.names_of(to.address).into_iter();
        explained.host = names
            .find(|name| !name.is_wildcard())
            .map(|name| name.to_string());
    }
    explained.record.addresses = Some(held.rows);
    Ok(explained)
}

/// The addresses that are held for what is asked.
#[derive(Default)]
struct Held {
    rows: Vec<HeldAddress>,
    /// Those that count now.
    addresses: BTreeSet<IpAddr>,
}

impl Held {
    fn add(&mut self, network: IpNet, source: NameSource) {
        let is_one = network.prefix_len() == network.max_prefix_len();
        let address = if is_one {
            self.addresses.insert(network.addr());
            network.addr().to_string()
        } else {
            network.to_string()
        };
        self.rows.push(HeldAddress {
            address,
            source,
            age: None,
            expires: None,
        });
    }

    /// Adds what the workload was given for the host, or at the address.
    fn add_learned(
        &mut self,
        target: &Target,
        cgroup: CgroupId,
        (ingest, reconciler): (&mut Ingest, &Reconciler),
    ) -> Result<()> {
        let places = reconciler.learners()?.remove(&cgroup).unwrap_or_default();
        let listed = reconciler.learned(&BTreeMap::from([(cgroup, places)]), MOST_NAMES)?;
        for learned in listed.addresses {
            let mut ids = learned.hosts.iter().map(|(id, _)| *id);
            let is_meant = match target {
                Target::Address(to) => learned.address == to.address,
                Target::Host(named) => {
                    learned
                        .name
                        .as_ref()
                        .is_some_and(|name| Host::new(name) == named.host)
                        || ids.any(|id| ingest.registry().host(id).as_ref() == Some(&named.host))
                }
            };
            let lives = learned.hosts.iter().map(|(_, life)| *life);
            // Of the hosts for which it was given, the one for which it counts longest.
            let longest = lives.max_by(|a, b| a.seconds().total_cmp(&b.seconds()));
            let Some(life) = longest.filter(|_| is_meant) else {
                continue;
            };
            if matches!(life, Life::Left(_)) {
                self.addresses.insert(learned.address);
            }
            self.rows.push(HeldAddress {
                address: learned.address.to_string(),
                source: NameSource::Learned,
                age: Some(learned.age.as_secs_f64()),
                expires: Some(life.seconds()),
            });
        }
        Ok(())
    }
}

fn of_host(registry: &mut Registry, host: &Host) -> Held {
    let mut held = Held::default();
    for network in registry.declared_for(host) {
        held.add(network, NameSource::Declared);
    }
    for address in registry.resolved_of(host) {
        held.add(address.into(), NameSource::Resolved);
    }
    held
}

fn of_address(registry: &mut Registry, address: IpAddr) -> Held {
    let mut held = Held::default();
    let hosts = registry.names_of(address);
    let declared = hosts.iter().flat_map(|host| registry.declared_for(host));
    let declared: BTreeSet<_> = declared.filter(|network| network.contains(&address)).collect();
    for network in declared {
        held.add(network, NameSource::Declared);
    }
    if hosts
        .iter()
        .any(|host| registry.resolved_of(host).contains(&address))
    {
        held.add(address.into(), NameSource::Resolved);
    }
    held
}

/// At each of a host's addresses, or where there is none, by name.
fn of_each(
    named: &Named,
    held: &Held,
    (cgroup, registry, reconciler): (CgroupId, &mut Registry, &Reconciler),
    workload: &Workload,
) -> Found {
    if held.addresses.is_empty() {
        let explanation = registry.explain_named(workload, named);
        return vec![(
            None,
            explanation.as_held_by_name(reconciler.applied(), (cgroup, named)),
        )];
    }
    let addresses = held.addresses.iter();
    let explained = addresses.map(|address| {
        let to = Destination::new(named.transport, *address, named.port);
        let explanation = at(to, Some(&named.host), (cgroup, &mut *registry, reconciler));
        (Some(*address), explanation)
    });
    explained.collect()
}

fn at(
    to: Destination,
    name: Option<&Host>,
    (cgroup, registry, reconciler): (CgroupId, &mut Registry, &Reconciler),
) -> Explanation {
    let given = reconciler.given(cgroup, to.address).hosts;
    let explanation = match name {
        Some(name) => registry.explain_asked(cgroup, to, (name, &given)),
        None => registry.explain_given(cgroup, to, &given),
    };
    explanation.as_held(reconciler.applied(), (cgroup, to, &given))
}

/// The workload that is meant, and its cgroup: one that is bound, if there are several.
fn meant(about: &AboutLive, ingest: &Ingest, reconciler: &Reconciler) -> Result<(CgroupId, Workload)> {
    let bound = &reconciler.applied().workloads;
    let cgroups = ingest.cgroups().keys();
    let mut there: BTreeMap<String, (CgroupId, Workload)> = BTreeMap::new();
    for cgroup in cgroups.filter(|cgroup| !reconciler.is_canary(**cgroup)) {
        if let Some(workload) = ingest.workload(*cgroup) {
            let known = there.get(&workload.to_string());
            if known.is_none_or(|(known, _)| !bound.contains_key(known)) {
                there.insert(workload.to_string(), (*cgroup, workload.clone()));
            }
        }
    }
    let is_meant = |workload: &Workload| {
        let is_named = about.workload.as_ref().is_none_or(|name| workload.name == *name);
        workload.namespace.as_str() == about.namespace && is_named
    };
    let in_namespace = |(_, workload): &&(CgroupId, Workload)| workload.namespace.as_str() == about.namespace;
    let found: Vec<_> = there
        .values()
        .filter(|(_, workload)| is_meant(workload))
        .collect();
    let namespace = &about.namespace;
    match (found.as_slice(), &about.workload) {
        ([one], _) => Ok((*one).clone()),
        ([], Some(name)) => bail!(
            "no workload {namespace}/{name} is there: {}",
            listed(there.values())
        ),
        ([], None) => bail!(
            "no workload of namespace {namespace} is there: {}",
            listed(there.values())
        ),
        _ => bail!(
            "namespace {namespace} has several workloads: choose one by --workload: {}",
            listed(there.values().filter(in_namespace))
        ),
    }
}

fn listed<'a>(workloads: impl Iterator<Item = &'a (CgroupId, Workload)>) -> String {
    let names: Vec<_> = workloads.map(|(_, workload)| workload.to_string()).collect();
    let named = names.get(..NAMED).unwrap_or(&names).join(", ");
    match names.len() {
        0 => "none is".to_owned(),
        count if count > NAMED => format!("there are {named} and {} more", count - NAMED),
        _ => format!("there are {named}"),
    }
}
