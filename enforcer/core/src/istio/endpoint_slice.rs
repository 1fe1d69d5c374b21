//! EndpointSlice: the addresses and ports behind a Service.

use std::{net::IpAddr, sync::Arc};

use super::{
    node::{Findings, Node},
    object::{EndpointSlice, Meta, Object, SlicePort},
    port,
};
use crate::model::Transport;

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let has_names = document.get("addressType").text(found) == "FQDN";
    let mut addresses = Vec::new();
    for endpoint in document.get("endpoints").list(found) {
        for text in endpoint.get("addresses").texts(found) {
            match text.parse::<IpAddr>() {
                Ok(address) => addresses.push(address.to_canonical()),
                // Istio has no use for slices of names either.
                Err(_) if has_names => {}
                Err(_) => {
                    let message = format!("Invalid value: {:?}: must be a valid IP address", text.value);
                    found.error(&text.at, message);
                }
            }
        }
    }
    let service = meta
        .labels
        .get("kubernetes.io/service-name")
        .cloned()
        .unwrap_or_default();
    Some(Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta.of_unselected(),
        service,
        addresses,
        ports: read_ports(document, found),
    })))
}

fn read_ports(document: &Node<'_>, found: &mut Findings) -> Vec<SlicePort> {
    let mut ports = Vec::new();
    for element in document.get("ports").list(found) {
        let transport = match element.get("protocol").text(found) {
            "" | "TCP" => Transport::Tcp,
            "UDP" => Transport::Udp,
            // No rule ever allows SCTP.
            _ => continue,
        };
        let number_at = element.get("port");
        let number = match number_at.integer(found) {
            None => Some(0),
            Some(number) => port::check_number(&number_at, number.value, found),
        };
        if let Some(number) = number {
            let name = element.get("name").text(found).to_owned();
            ports.push(SlicePort {
                name,
                number,
                transport,
            });
        }
    }
    ports.shrink_to_fit();
    ports
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, object};
    use super::*;

    #[test]
    fn slice_has_the_addresses_of_all_its_endpoints() {
        for version in ["v1", "v1beta1"] {
            let text = format!(
                "apiVersion: discovery.k8s.io/{version}\nkind: EndpointSlice\naddressType: IPv6\n\
                 metadata: {{name: s, labels: {{kubernetes.io/service-name: db}}}}\n\
                 endpoints: [{{addresses: ['fd00::1']}}, {{addresses: ['fd00::2'], conditions: {{ready: false}}}}]\n"
            );
            let Object::EndpointSlice(slice) = object(&text).0 else {
                panic!("not an EndpointSlice")
            };
            assert_eq!(slice.service, "db");
            let addresses: Vec<_> = slice.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(addresses, ["fd00::1", "fd00::2"]);
        }
    }

    #[test]
    fn slice_has_its_ports_by_name_and_number() {
        let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
                    metadata: {name: s, labels: {kubernetes.io/service-name: db}}\n\
                    ports: [{name: http, port: 8080, protocol: TCP}, {name: dns, port: 5353, protocol: UDP}, \
                    {port: 9000}, {name: all}, {name: s, port: 1, protocol: SCTP}]\n";
        let Object::EndpointSlice(slice) = object(text).0 else {
            panic!("not an EndpointSlice")
        };
        let port = |name: &str, number, transport| SlicePort {
            name: name.to_owned(),
            number,
            transport,
        };
        assert_eq!(
            slice.ports,
            [
                port("http", 8080, Transport::Tcp),
                port("dns", 5353, Transport::Udp),
                port("", 9000, Transport::Tcp),
                port("all", 0, Transport::Tcp)
            ]
        );
    }

    #[test]
    fn only_slices_of_names_may_have_names() {
        let slice = |kind: &str| {
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: {kind}\nmetadata: {{name: s}}\n\
                 endpoints: [{{addresses: [a.example.com]}}]\n"
            )
        };
        check(&slice("FQDN"), &[]);
        check(
            &slice("IPv4"),
            &["Invalid value: \"a.example.com\": must be a valid IP address"],
        );
    }
}
