//! ServiceEntry (`ValidateServiceEntry` and the CRD).
//!
//! `document -> Raw -> rules E1-E38, W1-W6, CRD -> ServiceEntry`. Rules are named by their numbers, in the order
//! in which Istio's function has them.

mod resolution;
mod schema;

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    net::IpAddr,
    sync::Arc,
};

use self::resolution::{RESOLUTIONS, RawResolution};
use super::{
    address,
    endpoint::RawEndpoint,
    export_to, name,
    node::{Choice, Findings, Item, Node},
    object::{Meta, Object, Resolution, ServiceEntry, ServicePort},
    port::{self, RawPort},
    selector::Selector,
};
use crate::model::Host;

/// `location`, by number.
const LOCATIONS: [&str; 2] = ["MESH_EXTERNAL", "MESH_INTERNAL"];

/// A ServiceEntry as written; None among ports and endpoints stands for `null`.
struct Raw<'a> {
    spec: Node<'a>,
    hosts: Vec<Item<'a, &'a str>>,
    addresses: Vec<Item<'a, &'a str>>,
    ports: Vec<(Node<'a>, Option<RawPort<'a>>)>,
    location: Choice<'a>,
    resolution: RawResolution,
    endpoints: Vec<(Node<'a>, Option<RawEndpoint<'a>>)>,
    selector: Option<Selector<'a>>,
    export_to: Vec<Item<'a, &'a str>>,
}

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let spec = document.get("spec");
    if !spec.is_mapping(found) {
        super::schema::required(&spec, found);
        return None;
    }
    let raw = Raw::read(spec, found);
    // Fields of the wrong type cannot be validated: the rules would check defaults that nobody wrote.
    if found.is_mistyped {
        return None;
    }
    raw.check(&meta, found);
    found
        .errors
        .is_empty()
        .then(|| Object::ServiceEntry(Arc::new(raw.build(document, meta))))
}

impl<'a> Raw<'a> {
    fn read(spec: Node<'a>, found: &mut Findings) -> Self {
        let mut ports = Vec::new();
        for at in spec.get("ports").list(found) {
            let port = at.is_set().then(|| RawPort::read(&at, found));
            ports.push((at, port));
        }
        let mut endpoints = Vec::new();
        for at in spec.get("endpoints").list(found) {
            let endpoint = at.is_set().then(|| RawEndpoint::read(&at, found));
            endpoints.push((at, endpoint));
        }
        spec.get("subjectAltNames").texts(found);
        Self {
            hosts: spec.get("hosts").texts(found),
            addresses: spec.get("addresses").texts(found),
            ports,
            location: spec.get("location").choice(found, &LOCATIONS),
            resolution: RawResolution::read(&spec.get("resolution").choice(found, &RESOLUTIONS)),
            endpoints,
            selector: Selector::read(spec.get("workloadSelector"), found),
            export_to: spec.get("exportTo").texts(found),
            spec,
        }
    }

    fn check(&self, meta: &Meta, found: &mut Findings) {
        if let Some(selector) = &self.selector {
            // E1, E2: Istio returns at once.
            if !selector.check(found) {
                return;
            }
            selector.warn_if_empty("service entry", found);
            if !self.endpoints.is_empty() {
                // E3.
                let message = "only one of WorkloadSelector or Endpoints is allowed in Service Entry";
                found.error(&selector.at, message);
            }
        }
        self.check_hosts(found);
        self.check_addresses(found);
        self.check_ports(meta, found);
        self.check_resolution(meta, found);
        self.check_many_hosts(found);
        export_to::check(&meta.namespace, &self.export_to, found);
        self.check_schema(found);
    }

    /// E4, E5, E6, W2.
    fn check_hosts(&self, found: &mut Findings) {
        if self.hosts.is_empty() {
            let at = self.spec.get("hosts");
            found.error(&at, "service entry must have at least one host");
        }
        for host in &self.hosts {
            if host.value == "*" {
                found.error(&host.at, "invalid host *");
                continue;
            }
            if let Err(message) = name::check_wildcard_domain(host.value) {
                found.error(&host.at, message);
            }
            if self.resolution != RawResolution::Known(Resolution::DynamicDns)
                && let Err(message) = name::check_partial_wildcard(host.value)
            {
                found.warning(&host.at, message);
            }
        }
    }

    /// E7, E8.
    fn check_addresses(&self, found: &mut Findings) {
        for address in &self.addresses {
            if let Err(message) = address::parse_network(address.value) {
                found.error(&address.at, message);
            }
        }
        if !self.resolution.accepts_networks()
            && let Some(network) = self.addresses.iter().find(|address| address.contains('/'))
        {
            let message = "CIDR addresses are allowed only for NONE/STATIC resolution types";
            found.error(&network.at, message);
        }
    }

    /// E9 to E14, W3.
    fn check_ports(&self, meta: &Meta, found: &mut Findings) {
        let is_allocated = self.is_allocated(meta);
        let mut names = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for (at, port) in &self.ports {
            let Some(port) = port else {
                found.error(at, "service entry port may not be null");
                continue;
            };
            if !names.insert(port.name.value) {
                let message = format!("service entry port name {:?} already defined", port.name.value);
                found.error(&port.name.at, message);
            }
            if !numbers.insert(port.number()) {
                let message = format!("service entry port {} already defined", port.number());
                found.error(&port.number_at(), message);
            }
            if let Some(target) = port.target.as_ref().filter(|target| target.value != 0) {
                port::check_number(&target.at, target.value, found);
            }
            if self.addresses.is_empty() && !is_allocated && matches!(port.protocol.value, "" | "TCP") {
                let message = "addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled";
                found.warning(at, message);
            }
            port::check_name(&port.name.at, port.name.value, found);
            port::check_protocol(&port.protocol.at, port.protocol.value, found);
            port::check_number(&port.number_at(), port.number(), found);
        }
    }

    /// Whether istiod gives the entry addresses (`ShouldV2AutoAllocateIP`).
    fn is_allocated(&self, meta: &Meta) -> bool {
        self.resolution != RawResolution::Known(Resolution::None) && !opts_out(meta)
    }

    /// E33: plain TCP cannot distinguish hosts.
    fn check_many_hosts(&self, found: &mut Findings) {
        if self.hosts.len() < 2 || self.resolution == RawResolution::Known(Resolution::None) {
            return;
        }
        for (at, port) in &self.ports {
            let Some(port) = port else {
                found.error(at, "ports cannot be nil");
                continue;
            };
            let tells = port
                .known_protocol()
                .is_some_and(|known| known.is_http() || known.is_tls());
            if !tells {
                return found.error(at, "multiple hosts provided with non-HTTP, non-TLS ports");
            }
        }
    }

    fn build(&self, document: &Node<'_>, meta: Meta) -> ServiceEntry {
        let addresses = self.addresses.iter();
        let ports = self.ports.iter();
        ServiceEntry {
            hosts: self.hosts.iter().map(|host| Host::new(host.value)).collect(),
            addresses: exact(addresses.filter_map(|address| address::parse_network(address.value).ok())),
            ports: exact(ports.filter_map(|(_, port)| build_port(port.as_ref()?))),
            resolution: self.resolution.known(),
            endpoints: self
                .endpoints
                .iter()
                .filter_map(|(_, endpoint)| Some(endpoint.as_ref()?.build()))
                .collect(),
            selector: self.selector.as_ref().map(Selector::labels),
            export_to: self
                .export_to
                .iter()
                .map(|entry| export_to::parse(entry.value))
                .collect(),
            allocated: allocated(document),
            opts_out: opts_out(&meta),
            label_sum: label_sum(&meta),
            meta: meta.of_unselected(),
        }
    }
}

fn opts_out(meta: &Meta) -> bool {
    let label = meta.labels.get("networking.istio.io/enable-autoallocate-ip");
    label.is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// The same for the same labels, in every process.
fn label_sum(meta: &Meta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.labels.hash(&mut hasher);
    hasher.finish()
}

/// A vector without spare capacity: there are thousands of entries, most with one port and one address.
fn exact<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.shrink_to_fit();
    items
}

fn build_port(port: &RawPort<'_>) -> Option<ServicePort> {
    Some(ServicePort {
        number: u16::try_from(port.number()).ok()?,
        name: port.name.value.to_owned(),
        protocol: port.known_protocol().unwrap_or(crate::model::Protocol::Auto),
        target: port
            .target
            .as_ref()
            .and_then(|target| u16::try_from(target.value).ok()),
    })
}

/// `status.addresses`; istiod writes it, and ignores invalid values too.
fn allocated(document: &Node<'_>) -> BTreeMap<Host, Vec<IpAddr>> {
    let mut allocated: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let addresses = document.get("status").get("addresses").value();
    for entry in addresses.as_array().into_iter().flatten() {
        if let (Some(host), Some(value)) = (entry["host"].as_str(), entry["value"].as_str())
            && let Some(address) = address::parse_ip(value)
        {
            allocated
                .entry(Host::new(host))
                .or_default()
                .push(address.to_canonical());
        }
    }
    allocated
}

#[cfg(test)]
mod tests;
