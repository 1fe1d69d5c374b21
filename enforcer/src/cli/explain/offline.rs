//! The verdicts that follow from files and names alone: of the maps as they would be on this machine.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::Result;
use enforcer_core::{
    explain::{Explanation, Named, Target},
    model::{CgroupId, Destination, Host, Workload},
    plan::{Applied, diff},
    policy::fit,
    registry::{Registry, Update},
};

use super::{
    asked::{Answers, Asked},
    registry, resolve,
};
use crate::{
    config::Config,
    control::{Explained, Found},
    daemon::settings,
    names,
};

pub(super) fn explain(asked: &Asked) -> Result<Vec<Explained>> {
    let config = registry::config(&asked.source)?;
    let settings = settings::of_names(&config, None);
    let servers = names::resolvers(&settings)?;
    let (mut registry, known) = registry::read(&asked.source, &config, &servers)?;
    let workload = known.meant(asked)?;
    let cgroup = number(&workload, &config);
    registry.apply(Update::Workload(cgroup, workload.clone()));
    let wanted = registry.hosts();
    let answers = match &asked.answers {
        Some(answers) => answers.clone(),
        None => {
            let hosts = asked.targets.iter().filter_map(|(_, target)| match target {
                Target::Host(named) => Some(named.host.clone()),
                Target::Address(_) => None,
            });
            resolve::ask(settings, servers, wanted.iter().cloned().chain(hosts).collect())?
        }
    };
    // The enforcer asks for no other names.
    for (host, addresses) in answers.iter().filter(|(host, _)| wanted.contains(*host)) {
        registry.apply(Update::Resolved {
            host: host.clone(),
            addresses: addresses.clone(),
        });
    }
    // The node's other pods take room in the maps, too; their names are not resolved for it.
    let here = known.pods.into_iter().filter(|pod| pod.is_here);
    let others = here.map(|pod| pod.workload).filter(|other| *other != workload);
    for (number, other) in (1..).zip(others) {
        registry.apply(Update::Workload(CgroupId(u64::MAX - number), other));
    }
    let (fitted, _) = fit((*registry.desired()).clone(), &config.capacities);
    let mut world = World {
        held: diff(&Applied::default(), &fitted).after,
        registry,
        answers,
        asks_resolvers: asked.answers.is_none(),
        cgroup,
        workload,
    };
    let targets = asked.targets.iter();
    let explained = targets.map(|(text, target)| {
        let found = world.find(target);
        let by = (&world.workload, world.registry.settings().matching);
        let mut explained = Explained::new(by, (text, target), &found);
        if let Target::Address(to) = target {
            let mut names = world.registry.names_of(to.address).into_iter();
            explained.host = names
                .find(|name| !name.is_wildcard())
                .map(|name| name.to_string());
        }
        explained
    });
    Ok(explained.collect())
}

/// The number of a workload among the configured ones; any other comes after all of them.
fn number(workload: &Workload, config: &Config) -> CgroupId {
    let mut configured = (1..).zip(&config.workloads);
    let found = configured.find(|(_, entry)| entry.workload == *workload);
    CgroupId(found.map_or(u64::MAX, |(number, _)| number))
}

/// All that verdicts follow from.
struct World {
    registry: Registry,
    /// What maps of the configured size would hold.
    held: Applied,
    answers: Answers,
    /// Whether these are from resolvers.
    asks_resolvers: bool,
    cgroup: CgroupId,
    workload: Workload,
}

impl World {
    fn find(&mut self, target: &Target) -> Found {
        match target {
            Target::Address(to) => {
                let given = BTreeSet::new();
                let explanation = self.registry.explain_given(self.cgroup, *to, &given);
                let explanation = explanation.as_held(&self.held, (self.cgroup, *to, &given));
                vec![(Some(to.address), explanation)]
            }
            Target::Host(named) => self.find_host(named),
        }
    }

    fn find_host(&mut self, named: &Named) -> Found {
        let host = &named.host;
        let mut answered = self.answers.get(host).cloned().unwrap_or_default();
        if answered.is_empty() && is_of_this_machine(host) {
            answered = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into();
        }
        let mut addresses = answered.clone();
        // What was said of a host by --resolve is all that it stands for.
        if answered.is_empty() || self.asks_resolvers {
            addresses.extend(self.registry.addresses_of(host));
        }
        if addresses.is_empty() {
            let explanation = self.registry.explain_named(&self.workload, named);
            return vec![(
                None,
                explanation.as_held_by_name(&self.held, (self.cgroup, named)),
            )];
        }
        let explained = addresses.into_iter().map(|address| {
            let is_answer = answered.contains(&address);
            (Some(address), self.at(named, address, is_answer))
        });
        explained.collect()
    }

    /// At an address that a resolver gave for the host, or that an object declares.
    fn at(&mut self, named: &Named, address: IpAddr, is_answer: bool) -> Explanation {
        let to = Destination::new(named.transport, address, named.port);
        let given = if is_answer {
            self.registry.given_for(&named.host, to.address)
        } else {
            BTreeSet::new()
        };
        let asked = (&named.host, &given);
        let explanation = self.registry.explain_asked(self.cgroup, to, asked);
        explanation.as_held(&self.held, (self.cgroup, to, &given))
    }
}

/// Whether a name stands for loopback, whatever resolvers say (RFC 6761, 6.3).
fn is_of_this_machine(host: &Host) -> bool {
    host.as_str() == "localhost" || host.as_str().ends_with(".localhost")
}
