//! A ServiceEntry that is not there yet, and its YAML: whatever suggests one writes it here.
//!
//! It judges nothing: whoever offers a draft has its text checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{
    istio::{Kind, ObjectId},
    model::{Namespace, Protocol, Transport},
    typed::{To, Typed, shortest},
    yaml::written,
};

/// How a host's addresses are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The host has those to which its name resolves: `resolution: DNS`.
    Resolved,
    /// Whatever name below a wildcard a workload resolves: `resolution: NONE`.
    Below,
    /// Those that it declares alone: `addresses` with `resolution: NONE`, so that a proxy sends it where the client
    /// has dialled.
    Declared,
}

/// A ServiceEntry that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it is.
    pub namespace: Namespace,
    /// Its own name.
    pub name: String,
    /// The host, as `hosts` has it.
    pub host: String,
    /// How the host's addresses are found.
    pub form: Form,
    /// Those that are declared; [`Form::Declared`] alone has any.
    pub addresses: BTreeSet<IpNet>,
    /// What may be dialled.
    pub ports: BTreeMap<u16, Protocol>,
    /// The namespaces that see it.
    pub users: BTreeSet<Namespace>,
}

impl Draft {
    /// What allows this to the workloads of its namespace and no others. The port's protocol is the plainest: any bytes,
    /// but below a wildcard, where a port without TLS would be one at any address.
    pub fn allowing(typed: &Typed, namespace: &Namespace) -> Self {
        let (name, host, form) = match &typed.to {
            To::Host(host) => {
                let form = if host.is_wildcard() {
                    Form::Below
                } else {
                    Form::Resolved
                };
                (name_of(host.as_str()), host.to_string(), form)
            }
            To::Network(network) => {
                let mut name = label(network.addr());
                if network.prefix_len() < network.max_prefix_len() {
                    name = format!("{name}-{}", network.prefix_len());
                }
                let host = unresolvable(&name);
                (name, host, Form::Declared)
            }
        };
        let protocol = match typed.transport {
            Transport::Tcp if form == Form::Below => Protocol::Tls,
            Transport::Tcp => Protocol::Tcp,
            Transport::Udp => Protocol::Udp,
        };
        let addresses = match &typed.to {
            To::Network(network) => [*network].into(),
            To::Host(_) => BTreeSet::new(),
        };
        Self {
            namespace: namespace.clone(),
            name,
            host,
            form,
            addresses,
            ports: [(typed.port, protocol)].into(),
            users: [namespace.clone()].into(),
        }
    }

    /// Which object it is.
    pub fn id(&self) -> ObjectId {
        ObjectId {
            kind: Kind::ServiceEntry,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// As it is applied.
    pub fn document(&self) -> Value {
        let mut spec = json!({ "hosts": [self.host] });
        if self.form == Form::Declared {
            spec["addresses"] = self.addresses.iter().map(shortest).collect();
        }
        spec["resolution"] = match self.form {
            Form::Resolved => "DNS",
            Form::Below | Form::Declared => "NONE",
        }
        .into();
        spec["location"] = "MESH_EXTERNAL".into();
        let ports = self.ports.iter();
        spec["ports"] = ports
            .map(|(number, protocol)| port(*number, &port_name(*number, *protocol), *protocol))
            .collect();
        let own = self.users.contains(&self.namespace).then_some(".");
        let others = self.users.iter().filter(|it| **it != self.namespace);
        spec["exportTo"] = own.into_iter().chain(others.map(Namespace::as_str)).collect();
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": self.name, "namespace": self.namespace.as_str() },
            "spec": spec,
        })
    }

    /// The same as YAML.
    pub fn text(&self) -> String {
        let lines = written(&self.document()).into_iter();
        lines.flat_map(|line| [line, "\n".to_owned()]).collect()
    }
}

/// A port as it is written.
pub(crate) fn port(number: u16, name: &str, protocol: Protocol) -> Value {
    json!({ "number": number, "name": name, "protocol": word(protocol) })
}

/// `tls-443`.
pub(crate) fn port_name(number: u16, protocol: Protocol) -> String {
    format!(
        "{}-{number}",
        word(protocol).to_ascii_lowercase().replace('_', "-")
    )
}

/// As Istio writes it.
fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP2",
        Protocol::Grpc => "GRPC",
        Protocol::GrpcWeb => "GRPC-WEB",
        Protocol::HttpProxy => "HTTP_PROXY",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Mongo => "MONGO",
        Protocol::Redis => "REDIS",
        Protocol::Mysql => "MYSQL",
        Protocol::Udp => "UDP",
        // Not declared.
        Protocol::Auto => "",
    }
}

/// A host as the name of an object, with room for what is put behind it: names end at 253 characters. A workload may have
/// asked for any name, also for one that is YAML.
pub(crate) fn name_of(host: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let host = host.replace('*', "any");
    let plain = host.chars().map(|it| if is_plain(it) { it } else { '-' });
    let name: String = plain.take(230).collect();
    match name.trim_matches('-') {
        "" => "host".to_owned(),
        name => name.to_owned(),
    }
}

/// The host of an entry that is about addresses alone: it can never resolve (RFC 2606).
pub(crate) fn unresolvable(label: &str) -> String {
    format!("{label}.invalid")
}

/// An address as a label of a name: `192-0-2-1`.
pub(crate) fn label(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.octets().map(|octet| octet.to_string()).join("-"),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join("-"),
    }
}
