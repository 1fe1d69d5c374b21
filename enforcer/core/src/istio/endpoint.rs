//! An endpoint of a ServiceEntry, and a WorkloadEntry's `spec`: the same type in both places.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    address, name,
    node::{Findings, Item, Node},
    object::{Endpoint, EndpointAddress},
    port, schema,
};
use crate::model::{Host, Labels};

/// An endpoint as written.
#[derive(Debug)]
pub(super) struct RawEndpoint<'a> {
    at: Node<'a>,
    address: Item<'a, &'a str>,
    network: &'a str,
    ports: Vec<(&'a str, Item<'a, i64>)>,
    labels: Vec<(&'a str, Item<'a, &'a str>)>,
}

impl<'a> RawEndpoint<'a> {
    /// Reads it; sizes and types are checked here.
    pub(super) fn read(at: &Node<'a>, found: &mut Findings) -> Self {
        at.is_mapping(found);
        let address_at = at.get("address");
        let address = Item {
            value: address_at.text(found),
            at: address_at,
        };
        schema::at_most_characters(&address, 256, found);
        for (key, limit) in [("network", 2048), ("locality", 2048), ("serviceAccount", 253)] {
            schema::short_text(&at.get(key), limit, found);
        }
        if let Some(weight) = at.get("weight").integer(found)
            && u32::try_from(weight.value).is_err()
        {
            found.error(&weight.at, "must be an integer from 0 to 4294967295");
        }
        let mut ports = Vec::new();
        for (key, value) in at.get("ports").entries(found) {
            let number = value.integer(found).unwrap_or(Item { at: value, value: 0 });
            ports.push((key, number));
        }
        let mut labels = Vec::new();
        for (key, value) in at.get("labels").entries(found) {
            let text = value.text(found);
            labels.push((
                key,
                Item {
                    at: value,
                    value: text,
                },
            ));
        }
        schema::at_most_items(&at.get("ports"), ports.len(), 128, found);
        schema::at_most_items(&at.get("labels"), labels.len(), 256, found);
        Self {
            address,
            network: at.get("network").text(&mut Findings::default()),
            ports,
            labels,
            at: at.clone(),
        }
    }

    /// The CEL rules of the CRD.
    pub(super) fn check_schema(&self, found: &mut Findings) {
        let (address_at, ports_at) = (&self.address.at, self.at.get("ports"));
        if !address_at.is_set() && !self.at.get("network").is_set() {
            found.error(&self.at, "Address is required");
        }
        if let Some(path) = self.address.strip_prefix(address::UNIX_PREFIX) {
            if !path.starts_with(['/', '@']) {
                found.error(address_at, "UDS must be an absolute path or abstract socket");
            }
            if self.address.ends_with('/') {
                found.error(address_at, "UDS may not be a dir");
            }
            if ports_at.is_set() {
                found.error(&ports_at, "UDS may not include ports");
            }
        }
        for (key, number) in &self.ports {
            // One shorter than a DNS label may be.
            if key.len() >= 63 || !name::is_label(key) {
                found.error(&number.at, "port name must be valid");
            }
            port::check_number_if_set(Some(number), found);
        }
    }

    /// E16 to E22 for a STATIC entry with those port names, or for a WorkloadEntry (None), which may stand for
    /// a name too (`validateWorkloadEntry`).
    pub(super) fn check(&self, service_ports: Option<&BTreeSet<&str>>, found: &mut Findings) {
        let address = self.address.value;
        let at = &self.address.at;
        if address.is_empty() {
            if self.network.is_empty() {
                // E16; Istio looks no further.
                return found.error(at, "address is required");
            }
            // W5.
            found.warning(at, format!("address is unset with network {:?}", self.network));
        }
        let unix = address.strip_prefix(address::UNIX_PREFIX);
        if let Some(path) = unix {
            // E18, E19.
            if let Err(message) = address::check_unix(path) {
                found.error(at, message);
            }
            if !self.ports.is_empty() {
                found.error(at, format!("unix endpoint {address} must not include ports"));
            }
        } else if !address.is_empty() && address::parse_ip(address).is_none() {
            if service_ports.is_some() {
                // E17.
                found.error(
                    at,
                    format!("endpoint address {address:?} is not a valid IP address"),
                );
            } else if name::check_domain(address).is_err() {
                // E26.
                let message = format!("endpoint address {address:?} is not a valid FQDN or an IP address");
                found.error(at, message);
            }
        }
        self.check_ports(service_ports, found);
        self.check_labels(found);
        if unix.is_some() && service_ports.is_some_and(|ports| ports.len() != 1) {
            // E20.
            found.error(at, "exactly 1 service port required for unix endpoints");
        }
    }

    /// E26, E21 and E22 for an entry that is resolved by DNS.
    pub(super) fn check_for_dns(&self, service_ports: &BTreeSet<&str>, found: &mut Findings) {
        let address = self.address.value;
        if address::parse_ip(address).is_none() && name::check_domain(address).is_err() {
            let message = format!("endpoint address {address:?} is not a valid FQDN or an IP address");
            found.error(&self.address.at, message);
        }
        self.check_labels(found);
        self.check_ports(Some(service_ports), found);
    }

    fn check_ports(&self, service_ports: Option<&BTreeSet<&str>>, found: &mut Findings) {
        for (key, number) in &self.ports {
            if service_ports.is_some_and(|ports| !ports.contains(key)) {
                // E21; the message names the number, as Istio's does.
                let message = format!(
                    "endpoint port {} is not defined by the service entry",
                    number.value
                );
                found.error(&number.at, message);
            }
            port::check_name(&number.at, key, found);
            port::check_number(&number.at, number.value, found);
        }
    }

    fn check_labels(&self, found: &mut Findings) {
        for (key, value) in &self.labels {
            if let Err(message) = name::check_label_key(key) {
                found.error(&value.at, message);
            }
            if let Err(message) = name::check_label_value(value.value) {
                found.error(&value.at, message);
            }
        }
    }

    /// The endpoint; what the rules refuse does not get here.
    pub(super) fn build(&self) -> Endpoint {
        let address = self.address.value;
        let address = match (
            address.strip_prefix(address::UNIX_PREFIX),
            address::parse_ip(address),
        ) {
            (Some(path), _) => EndpointAddress::Unix(path.to_owned()),
            (None, Some(ip)) => EndpointAddress::Ip(ip.to_canonical()),
            (None, None) if address.is_empty() => EndpointAddress::Unset,
            (None, None) => EndpointAddress::Host(Host::new(address)),
        };
        let ports: BTreeMap<_, _> = self
            .ports
            .iter()
            .filter_map(|(key, number)| Some(((*key).to_owned(), u16::try_from(number.value).ok()?)))
            .collect();
        let labels = self.labels.iter();
        Endpoint {
            address,
            ports,
            labels: labels
                .map(|(key, value)| ((*key).to_owned(), value.value.to_owned()))
                .collect::<Labels>(),
            network: self.network.to_owned(),
        }
    }
}
