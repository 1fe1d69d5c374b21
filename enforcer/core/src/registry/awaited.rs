//! What one object comes to, for whoever waits until it is in force.
//!
//! It must never look at more than the hosts of that object: it is asked after every plan.

use std::{collections::BTreeSet, net::IpAddr};

use super::Registry;
use crate::{
    istio::{EndpointAddress, Kind, ObjectId},
    model::Host,
    objects::{Key, Owner},
    offer::Offer,
    rule::Rule,
    settings::Matching,
};

impl Registry {
    /// Whether the registry has the object.
    pub fn has(&self, id: &ObjectId) -> bool {
        let key = Key::new(&id.namespace, &id.name);
        let objects = &self.objects;
        match id.kind {
            Kind::ServiceEntry => objects.entries.contains_key(&key),
            Kind::WorkloadEntry => objects.workload_entries.contains_key(&key),
            Kind::Sidecar => objects.sidecars.contains_key(&key),
            Kind::Service => objects.services.contains_key(&key),
            Kind::VirtualService => objects.virtual_services.contains_key(&key),
            Kind::MeshConfig => objects.meshes.contains_key(&key),
            Kind::Pod => objects.pods.contains_key(&key),
            Kind::Namespace => objects.namespaces.contains_key(&key),
            Kind::Node => objects.nodes.contains_key(&key),
            Kind::EndpointSlice => false,
        }
    }

    /// The names whose addresses belong to the object's rules and that a workload needs; no wildcards. None under the
    /// matching `istio`, whose rules need no addresses.
    pub fn names_of_object(&mut self, id: &ObjectId) -> BTreeSet<Host> {
        if self.settings.matching == Matching::Istio {
            return BTreeSet::new();
        }
        let mut names: BTreeSet<Host> = BTreeSet::new();
        if id.kind == Kind::WorkloadEntry {
            let entry = self
                .objects
                .workload_entries
                .get(&Key::new(&id.namespace, &id.name));
            if let Some(EndpointAddress::Host(host)) = entry.map(|entry| &entry.endpoint.address) {
                names.insert(host.clone());
            }
        }
        let wanted = self.hosts();
        let of_ports = self.offers_of(id).into_iter().flat_map(|offer| &offer.grants);
        names.extend(of_ports.flat_map(|port| &port.names).cloned());
        names.retain(|name| wanted.contains(name));
        names
    }

    /// The rules that its ports grant where no Sidecar gives them another protocol.
    pub fn rules_of_object(&mut self, id: &ObjectId) -> BTreeSet<Rule> {
        self.refresh();
        let of_ports = self.offers_of(id).into_iter().flat_map(|offer| &offer.grants);
        let grants = of_ports.flat_map(|port| &port.grants);
        grants.map(|grant| grant.rule).collect()
    }

    /// Whether all of these addresses of a host count, but for those for which no name may stand.
    pub fn has_resolved(&mut self, host: &Host, addresses: &BTreeSet<IpAddr>) -> bool {
        let known = self.resolved_of(host);
        let unknown = addresses.difference(&known);
        let unknown: Vec<_> = unknown.map(IpAddr::to_canonical).collect();
        unknown.into_iter().all(|address| self.is_protected(address))
    }

    fn offers_of(&self, id: &ObjectId) -> Vec<&Offer> {
        let key = Key::new(&id.namespace, &id.name);
        let hosts = match id.kind {
            Kind::ServiceEntry => {
                let entry = self.objects.entries.get(&key);
                entry.map(|entry| entry.hosts.clone()).unwrap_or_default()
            }
            Kind::Service => vec![crate::offer::service_host(&key, &self.settings)],
            _ => Vec::new(),
        };
        let hosts: BTreeSet<_> = hosts.into_iter().collect();
        let states = hosts.iter().filter_map(|host| self.states.get(host));
        let offers = states.flat_map(|state| &state.offers);
        let is_its = |offer: &&Offer| {
            let meta = offer.owner.meta();
            let is_kind = matches!(offer.owner, Owner::Service(_)) == (id.kind == Kind::Service);
            is_kind && (&meta.namespace, &meta.name) == (&id.namespace, &id.name)
        };
        offers.filter(is_its).collect()
    }
}
