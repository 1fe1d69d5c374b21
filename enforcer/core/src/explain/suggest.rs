//! Suggestions for allowing a destination.

use std::net::IpAddr;

use super::{Asked, At, Why};
use crate::model::{Destination, Host, Namespace, Transport};

/// One line that says what to change.
pub(super) fn line(why: &Why, namespace: &Namespace, host: Option<&Host>, to: Asked<'_>) -> String {
    let protocol = protocol(to.transport);
    match why {
        Why::NotExported { object, to } => format!("add {to} to exportTo of {object}"),
        Why::NotImported {
            sidecar,
            object,
            host,
            port,
        } => match port {
            Some(port) => format!(
                "give {sidecar} an egress listener for {}/{host} on port {port}",
                object.namespace
            ),
            None => format!("add {}/{host} to the egress hosts of {sidecar}", object.namespace),
        },
        Why::PortNotDeclared { object, port, .. } | Why::OtherTransport { object, port, .. } => {
            format!("add port {port} with protocol {protocol} to {object}")
        }
        Why::OtherAddress { object, .. } => match to.at {
            At::Address(address) => format!("add {address} to the addresses of {object}"),
            At::Name(..) => format!("dial one of the addresses of {object}"),
        },
        Why::OnlyDeclared { object, .. } => format!("dial one of the addresses of {object}"),
        Why::NotLearned { .. } => {
            let name = host.map_or("the host", Host::as_str);
            format!(
                "set dns.learn.enabled in the enforcer's configuration, or register {name} itself, port {} with protocol \
                 {protocol}, with a resolution of DNS",
                to.port
            )
        }
        Why::NothingBehind { object, .. } => format!("give {object} an endpoint, or a host of its own"),
        Why::Endpoint { object, host } => format!("dial {host} at a port of {object}"),
        Why::Displaced { by, .. } => format!("declare port {} with protocol {protocol} in {by}", to.port),
        Why::Reserved { object, port } => format!("declare port {port} with protocol TCP in {object}"),
        Why::UdpNotAllowed { .. } => "set udp: registry in the enforcer's configuration".to_owned(),
        Why::Ignored { object, .. } => format!("bring {object} into the registry's revision and namespaces"),
        _ => {
            let name = match (host, to.at) {
                (Some(host), _) | (None, At::Name(host, _)) => format!("host {host}"),
                (None, At::Address(address)) => format!("address {address}"),
            };
            format!(
                "a ServiceEntry in namespace {namespace} for {name}, port {} with protocol {protocol}",
                to.port
            )
        }
    }
}

/// A minimal ServiceEntry, as YAML, that allows `destination` to the workloads of `namespace`: by the name of
/// the host if there is one (not a wildcard), which then has to resolve to the address, else by the address.
pub fn service_entry(namespace: &Namespace, host: Option<&Host>, destination: Destination) -> String {
    let protocol = protocol(destination.transport);
    let port = destination.port;
    let (host, name, how) = match host {
        Some(host) => (
            host.to_string(),
            object_name(host),
            "  resolution: DNS\n".to_owned(),
        ),
        None => {
            let label = label(destination.address);
            (
                // A name that can never resolve (RFC 2606): the entry is about the address alone.
                format!("{label}.invalid"),
                label,
                format!(
                    "  addresses:\n  - {:?}\n  resolution: NONE\n",
                    destination.address.to_string()
                ),
            )
        }
    };
    // Names of objects end at 253 characters; hosts can have as many, and the port comes on top.
    let name: String = name.chars().take(240).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: {name}-{port}
  namespace: {namespace}
spec:
  hosts:
  - {host:?}
{how}  location: MESH_EXTERNAL
  ports:
  - number: {port}
    name: {}-{port}
    protocol: {protocol}
  exportTo:
  - \".\"
",
        protocol.to_ascii_lowercase()
    )
}

/// The host as the name of an object. A workload may have asked for any name, also for one that is YAML.
fn object_name(host: &Host) -> String {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain = |c| if is_plain(c) { c } else { '-' };
    let name: String = host.as_str().chars().map(plain).collect();
    let name = name.trim_matches('-');
    if name.is_empty() {
        "host".to_owned()
    } else {
        name.to_owned()
    }
}

/// An address as a label of a name: `192-0-2-1`.
pub(crate) fn label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.octets().map(|octet| octet.to_string()).join("-"),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join("-"),
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}
