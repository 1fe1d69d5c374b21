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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        istio::Resolution,
        model::{Namespace, Protocol},
        settings::Settings,
        test_support::{entry, ip, resolved, workload, world},
    };

    fn id(kind: Kind, name: &str) -> ObjectId {
        ObjectId {
            kind,
            namespace: Namespace::new("a"),
            name: name.to_owned(),
        }
    }

    #[test]
    fn object_has_its_own_names_and_rules_and_no_others() {
        let of = |id: &str, host: &str| entry(id, host, &[(443, Protocol::Tls)]).resolution(Resolution::Dns);
        let mut registry = world(
            Settings::default(),
            [
                of("a/one", "one.example.com").into(),
                of("a/two", "two.example.com").host("*.two.example.com").into(),
                workload(1, "a", ""),
            ],
        );
        let two = id(Kind::ServiceEntry, "two");
        assert!(registry.has(&two) && !registry.has(&id(Kind::Service, "two")));
        assert_eq!(
            registry.names_of_object(&two),
            [Host::new("two.example.com")].into(),
            "wildcards are not resolved"
        );
        assert!(registry.names_of_object(&id(Kind::Service, "two")).is_empty());
        registry.apply(resolved("two.example.com", &["192.0.2.2"]));
        registry.apply(resolved("one.example.com", &["192.0.2.1"]));
        let rules: Vec<_> = registry
            .rules_of_object(&two)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(rules.contains(&"tcp 192.0.2.2:443".to_owned()), "{rules:?}");
        assert!(!rules.contains(&"tcp 192.0.2.1:443".to_owned()), "{rules:?}");
    }

    #[test]
    fn names_that_no_workload_needs_are_not_waited_for() {
        let private = entry("b/one", "one.example.com", &[(443, Protocol::Tls)]);
        let private = private.resolution(Resolution::Dns).export(&["."]);
        let mut registry = world(Settings::default(), [private.into(), workload(1, "a", "")]);
        let one = ObjectId {
            namespace: Namespace::new("b"),
            ..id(Kind::ServiceEntry, "one")
        };
        assert!(registry.names_of_object(&one).is_empty());
        registry.apply(workload(2, "b", ""));
        assert_eq!(registry.names_of_object(&one).len(), 1);
    }

    #[test]
    fn addresses_count_once_they_are_applied_or_kept_out() {
        let settings = Settings {
            protected: ["169.254.0.0/16".parse().unwrap()].into(),
            ..Settings::default()
        };
        let mut registry = world(settings, []);
        let host = Host::new("one.example.com");
        let both = [ip("192.0.2.1"), ip("169.254.169.254")].into();
        assert!(!registry.has_resolved(&host, &both));
        registry.apply(resolved("one.example.com", &["192.0.2.1", "169.254.169.254"]));
        assert!(registry.has_resolved(&host, &both));
        assert!(registry.has_resolved(&host, &BTreeSet::new()));
        assert!(!registry.has_resolved(&host, &[ip("192.0.2.9")].into()));
    }
}
