//! Suggestions for allowing a destination.

use super::{Asked, At, Why};
use crate::{
    draft::Draft,
    model::{Destination, Host, Namespace, Transport},
    typed::{To, Typed},
};

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
    let to = match host {
        Some(host) => To::Host(host.clone()),
        None => To::address(destination.address),
    };
    let (port, transport) = (destination.port, destination.transport);
    let typed = Typed { to, port, transport };
    let mut draft = Draft::allowing(&typed, namespace);
    draft.name = format!("{}-{port}", draft.name);
    draft.text()
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}
