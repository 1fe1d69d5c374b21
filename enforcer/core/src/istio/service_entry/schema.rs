//! The rules of the CRD (`manifests/charts/base/files/crd-all.gen.yaml`): users apply entries through the API
//! server, so what it refuses is refused here.

use std::collections::BTreeSet;

use super::{Raw, RawResolution};
use crate::istio::{
    node::Findings,
    object::Resolution,
    port::{self, RawPort},
    schema::{at_most_characters, at_most_items, required},
};

impl Raw<'_> {
    pub(super) fn check_schema(&self, found: &mut Findings) {
        self.check_sizes(found);
        self.check_exclusions(found);
        for host in self.hosts.iter().filter(|host| host.value == "*") {
            found.error(&host.at, "hostname cannot be wildcard");
        }
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for port in self.ports.iter().filter_map(|(_, port)| port.as_ref()) {
            check_port(port, found);
            if !names.insert(port.name.value) {
                found.error(&port.name.at, format!("Duplicate value: {:?}", port.name.value));
            }
            if !numbers.insert(port.number()) {
                found.error(&port.number_at(), "port number cannot be duplicated");
            }
        }
        for endpoint in self
            .endpoints
            .iter()
            .filter_map(|(_, endpoint)| endpoint.as_ref())
        {
            endpoint.check_schema(found);
        }
    }

    fn check_sizes(&self, found: &mut Findings) {
        let hosts = self.spec.get("hosts");
        required(&hosts, found);
        if hosts.is_set() && self.hosts.is_empty() {
            found.error(&hosts, "must have at least 1 items");
        }
        at_most_items(&hosts, self.hosts.len(), 256, found);
        at_most_items(&self.spec.get("addresses"), self.addresses.len(), 256, found);
        at_most_items(&self.spec.get("ports"), self.ports.len(), 256, found);
        at_most_items(&self.spec.get("endpoints"), self.endpoints.len(), 4096, found);
        for address in &self.addresses {
            at_most_characters(address, 64, found);
        }
    }

    /// The CEL rules of the whole `spec`; a sequence that is there counts even if it is empty.
    fn check_exclusions(&self, found: &mut Findings) {
        let endpoints = self.spec.get("endpoints");
        if let Some(selector) = self.selector.as_ref().filter(|_| endpoints.is_set()) {
            found.error(
                &selector.at,
                "only one of WorkloadSelector or Endpoints can be set",
            );
        }
        if self.resolution == RawResolution::Known(Resolution::None) && endpoints.is_set() {
            found.error(&endpoints, "NONE mode cannot set endpoints");
        }
        if self.has_many_round_robin_endpoints() {
            found.error(&endpoints, "DNS_ROUND_ROBIN mode cannot have multiple endpoints");
        }
    }
}

fn check_port(port: &RawPort<'_>, found: &mut Findings) {
    required(&port.number_at(), found);
    required(&port.name.at, found);
    at_most_characters(&port.name, 256, found);
    at_most_characters(&port.protocol, 256, found);
    port::check_number_if_set(port.number.as_ref(), found);
    port::check_number_if_set(port.target.as_ref(), found);
}
