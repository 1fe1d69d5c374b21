//! VirtualServices that change what a host means where a proxy follows them. They allow nothing and forbid nothing.

use std::collections::BTreeSet;

use super::{Registry, Warning, ineffective::is_seen};
use crate::{
    export::ignored,
    istio::{Kind, ObjectId, VirtualService},
    model::{Host, Namespace},
    objects::Owner,
};

/// How many hosts of a VirtualService, and entries of each, are warned of; and how many destinations a warning names. An
/// author can write thousands of each.
const NAMED: usize = 20;
const NAMED_TO: usize = 3;

/// Adds a warning for each host that is routed and that nobody has, and for each host of a ServiceEntry that is routed
/// elsewhere, such as to an egress gateway.
pub(super) fn warn(registry: &Registry, warnings: &mut BTreeSet<Warning>) {
    let (objects, settings) = (&registry.objects, &registry.settings);
    let mesh = objects.mesh(&settings.revision);
    for service in objects.virtual_services.values() {
        let is_ignored = ignored(&service.meta, &settings.revision, mesh, objects).is_some();
        if service.is_in_mesh && !is_ignored {
            warn_of(registry, service, warnings);
        }
    }
}

fn warn_of(registry: &Registry, service: &VirtualService, warnings: &mut BTreeSet<Warning>) {
    let whole = |name: &String| registry.whole(name, &service.meta.namespace);
    let destinations: BTreeSet<Host> = service.destinations.iter().map(whole).collect();
    let id = || ObjectId {
        kind: Kind::VirtualService,
        namespace: service.meta.namespace.clone(),
        name: service.meta.name.clone(),
    };
    let hosts: BTreeSet<Host> = service.hosts.iter().map(whole).collect();
    for host in hosts.into_iter().take(NAMED) {
        let to = destinations.iter().filter(|to| **to != host).take(NAMED_TO);
        let to: BTreeSet<Host> = to.cloned().collect();
        if to.is_empty() {
            continue;
        }
        let (is_registered, entries) = registry.owners_of(&host);
        if !is_registered {
            let (to, host) = (to.clone(), host.clone());
            warnings.insert(Warning::RoutesUnregistered {
                service: id(),
                host,
                to,
            });
        }
        for entry in entries.into_iter().take(NAMED) {
            let (to, host) = (to.clone(), host.clone());
            let service = id();
            warnings.insert(Warning::Rerouted {
                service,
                host,
                entry,
                to,
            });
        }
    }
}

impl Registry {
    /// A host as VirtualServices name it: a name without a dot is a Service's (`ResolveShortnameToFQDN`).
    fn whole(&self, name: &str, namespace: &Namespace) -> Host {
        if name.contains('.') || name.starts_with('*') {
            return Host::new(name);
        }
        Host::new(&format!(
            "{name}.{namespace}.svc.{}",
            self.settings.cluster_domain
        ))
    }

    /// Whether anybody has `host`, and the entries that do. A wildcard is had by whoever has a name under it.
    fn owners_of(&self, host: &Host) -> (bool, BTreeSet<ObjectId>) {
        let mut hosts = self.owners.wildcards_over(host);
        hosts.push(host.clone());
        if host.is_wildcard() {
            hosts.extend(self.owners.hosts().filter(|other| host.covers(other)).cloned());
        }
        let states = hosts.iter().filter_map(|host| self.states.get(host));
        let (mut is_registered, mut entries) = (false, BTreeSet::new());
        for offer in states
            .flat_map(|state| &state.offers)
            .filter(|offer| is_seen(offer))
        {
            is_registered = true;
            if matches!(offer.owner, Owner::Entry(_)) {
                entries.insert(offer.owner.id());
            }
        }
        (is_registered, entries)
    }
}
