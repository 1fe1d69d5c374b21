//! Kubernetes Service (`pilot/pkg/serviceregistry/kube/conversion.go`, `ConvertService`; protocols from
//! `pkg/config/kube/conversion.go`, `ConvertProtocol`).

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::{
    export_to, name,
    node::{Findings, Node},
    object::{ExportTo, Meta, Object, Service, ServiceKind, ServicePort},
    port, schema,
};
use crate::model::{Host, Labels, Protocol};

/// The annotation that corresponds to a ServiceEntry's `exportTo`.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
/// Ports on which the server may speak first, so that Istio does not sniff: SMTP, DNS, MySQL, MongoDB.
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let spec = document.get("spec");
    if !spec.is_mapping(found) {
        schema::required(&spec, found);
        return None;
    }
    let kind = read_kind(&spec, found)?;
    let ports = read_ports(&spec.get("ports"), found);
    let export_to = read_export_to(document, &meta, found);
    Some(Object::Service(Arc::new(Service {
        meta: meta.of_unselected(),
        kind,
        ports,
        export_to,
        selector: read_selector(&spec.get("selector")),
    })))
}

/// The API server has checked the labels.
fn read_selector(at: &Node<'_>) -> Labels {
    let labels = at.value().as_object().into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn read_kind(spec: &Node<'_>, found: &mut Findings) -> Option<ServiceKind> {
    if spec.get("type").text(found) == "ExternalName" {
        let at = spec.get("externalName");
        let text = at.text(found);
        if let Err(message) = name::check_domain(text) {
            found.error(&at, message);
            return None;
        }
        return Some(ServiceKind::ExternalName(Host::new(text)));
    }
    let first = spec.get("clusterIP").optional_text(found);
    if first.as_ref().is_some_and(|first| first.value == "None") {
        return Some(ServiceKind::Headless);
    }
    let mut texts = spec.get("clusterIPs").texts(found);
    if texts.is_empty() {
        texts.extend(first);
    }
    let mut addresses = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) if text.value == "None" => return Some(ServiceKind::Headless),
            Err(_) => found.error(
                &text.at,
                format!("Invalid value: {:?}: must be a valid IP address", text.value),
            ),
        }
    }
    Some(ServiceKind::ClusterIp(addresses))
}

fn read_ports(at: &Node<'_>, found: &mut Findings) -> Vec<ServicePort> {
    let mut ports = Vec::new();
    let mut names = BTreeSet::new();
    let elements = at.list(found);
    for element in &elements {
        element.is_mapping(found);
        let (name_at, number_at) = (element.get("name"), element.get("port"));
        schema::required(&number_at, found);
        let number = number_at
            .integer(found)
            .and_then(|number| port::check_number(&number_at, number.value, found));
        let name = name_at.text(found);
        if elements.len() > 1 {
            if name.is_empty() {
                found.error(&name_at, "Required value");
            } else if !names.insert(name) {
                found.error(&name_at, format!("Duplicate value: {name:?}"));
            }
        }
        let transport = element.get("protocol").text(found);
        let application = element
            .get("appProtocol")
            .optional_text(found)
            .map(|text| text.value);
        let target = element.get("targetPort");
        // No rule ever allows SCTP.
        let Some(number) = number.filter(|_| transport != "SCTP") else {
            continue;
        };
        ports.push(ServicePort {
            number,
            name: name.to_owned(),
            protocol: protocol(
                number,
                transport,
                application.unwrap_or(name),
                application.is_some(),
            ),
            // A name refers to a port of the pods, which no client dials.
            target: target
                .value()
                .as_u64()
                .and_then(|target| u16::try_from(target).ok()),
        });
    }
    ports
}

/// The protocol of a port: `appProtocol` if there is one, else what the port's name begins with.
fn protocol(number: u16, transport: &str, name: &str, is_application: bool) -> Protocol {
    if transport == "UDP" {
        return Protocol::Udp;
    }
    match name {
        "kubernetes.io/h2c" if is_application => return Protocol::Http2,
        "kubernetes.io/ws" if is_application => return Protocol::Http,
        "kubernetes.io/wss" if is_application => return Protocol::Https,
        _ => {}
    }
    let is_grpc_web = name
        .get(..8)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("grpc-web"));
    if is_grpc_web {
        return Protocol::GrpcWeb;
    }
    let prefix = name.split('-').next().unwrap_or(name);
    match port::parse_protocol(prefix) {
        // A TCP port is never UDP, whatever its name.
        Some(Protocol::Udp) | None if SERVER_FIRST_PORTS.contains(&number) => Protocol::Tcp,
        Some(Protocol::Udp) | None => Protocol::Auto,
        Some(known) => known,
    }
}

/// A comma-separated list; Istio accepts any text as a namespace's name, so an invalid name is only a warning.
fn read_export_to(document: &Node<'_>, meta: &Meta, found: &mut Findings) -> Vec<ExportTo> {
    let Some(list) = meta.annotations.get(EXPORT_TO).filter(|list| !list.is_empty()) else {
        return Vec::new();
    };
    let at = document.get("metadata").get("annotations").get(EXPORT_TO);
    let mut entries = Vec::new();
    for entry in list.split(',').map(str::trim) {
        if !matches!(entry, "*" | "." | "~") && !name::is_label(entry) {
            let message = "only .,*, or a valid DNS 1123 label is allowed as exportTo entry";
            found.warning(&at, message);
        }
        entries.push(export_to::parse(entry));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, object};
    use super::*;
    use crate::model::Namespace;

    const HEAD: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: ns}\n";

    fn service(text: &str) -> (Service, Vec<String>) {
        match object(text) {
            (Object::Service(service), warnings) => ((*service).clone(), warnings),
            _ => panic!("not a Service"),
        }
    }

    #[test]
    fn kinds_of_services_are_told_apart() {
        let ips =
            |texts: &[&str]| ServiceKind::ClusterIp(texts.iter().map(|text| text.parse().unwrap()).collect());
        for (spec, kind) in [
            ("{clusterIP: 10.0.0.1}", ips(&["10.0.0.1"])),
            (
                "{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1'], type: LoadBalancer}",
                ips(&["10.0.0.1", "fd00::1"]),
            ),
            ("{}", ips(&[])),
            ("{clusterIP: None}", ServiceKind::Headless),
            ("{clusterIP: None, clusterIPs: [None]}", ServiceKind::Headless),
            (
                "{type: ExternalName, externalName: DB.example.com}",
                ServiceKind::ExternalName(Host::new("db.example.com")),
            ),
        ] {
            assert_eq!(service(&format!("{HEAD}spec: {spec}\n")).0.kind, kind, "{spec}");
        }
    }

    #[test]
    fn protocol_comes_from_app_protocol_then_name_then_number() {
        for (port, protocol) in [
            ("{port: 80, name: http-web}", Protocol::Http),
            ("{port: 80, name: GRPC-WEB-x}", Protocol::GrpcWeb),
            ("{port: 80, name: http2}", Protocol::Http2),
            ("{port: 80, name: http, appProtocol: tcp}", Protocol::Tcp),
            (
                "{port: 80, name: http, appProtocol: kubernetes.io/h2c}",
                Protocol::Http2,
            ),
            ("{port: 80, appProtocol: kubernetes.io/wss}", Protocol::Https),
            ("{port: 80, name: web}", Protocol::Auto),
            ("{port: 3306, name: db}", Protocol::Tcp),
            ("{port: 3306, name: mysql-db}", Protocol::Mysql),
            ("{port: 53, name: dns, protocol: UDP}", Protocol::Udp),
            ("{port: 80, name: 日本語日本語}", Protocol::Auto),
        ] {
            let (service, _) = service(&format!("{HEAD}spec: {{ports: [{port}]}}\n"));
            assert_eq!(service.ports[0].protocol, protocol, "{port}");
        }
    }

    #[test]
    fn export_to_is_a_comma_list() {
        let head = HEAD.replace(
            "namespace: ns",
            "namespace: ns, annotations: {networking.istio.io/exportTo: 'a, .,~ ,b_c'}",
        );
        let (service, warnings) = service(&format!("{head}spec: {{}}\n"));
        assert_eq!(
            service.export_to,
            [
                ExportTo::Namespace(Namespace::new("a")),
                ExportTo::Own,
                ExportTo::Nobody,
                ExportTo::Namespace(Namespace::new("b_c")),
            ]
        );
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn what_the_api_server_refuses_is_refused() {
        for (spec, errors) in [
            (
                "{ports: [{port: 0}]}",
                &["port number 0 must be in the range 1..65535"][..],
            ),
            ("{ports: [{name: x}]}", &["Required value"]),
            ("{ports: [{port: 1}, {port: 2, name: a}]}", &["Required value"]),
            (
                "{ports: [{port: 1, name: a}, {port: 2, name: a}]}",
                &["Duplicate value: \"a\""],
            ),
            (
                "{clusterIP: x}",
                &["Invalid value: \"x\": must be a valid IP address"],
            ),
            ("{type: ExternalName}", &["empty domain name not allowed"]),
            (
                "{ports: [{port: 1, name: a}, {port: 1, name: b, protocol: SCTP}]}",
                &[],
            ),
        ] {
            check(&format!("{HEAD}spec: {spec}\n"), errors);
        }
    }
}
