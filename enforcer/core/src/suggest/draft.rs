//! A ServiceEntry that is not there yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::{Value, json};

use super::{ports::word, yaml};
use crate::{
    documents::{Judgement, check},
    istio::{Kind, Object, ObjectId},
    model::{Namespace, Protocol},
};

/// How a host's addresses are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
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
pub(super) struct Draft {
    pub(super) namespace: Namespace,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) form: Form,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) ports: BTreeMap<u16, Protocol>,
    /// The namespaces that see it.
    pub(super) users: BTreeSet<Namespace>,
}

impl Draft {
    pub(super) fn id(&self) -> ObjectId {
        ObjectId {
            kind: Kind::ServiceEntry,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// As it is applied.
    pub(super) fn document(&self) -> Value {
        let mut spec = json!({ "hosts": [self.host] });
        if self.form == Form::Declared {
            spec["addresses"] = self.addresses.iter().map(ToString::to_string).collect();
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

    /// What its text is read as. None if Istio would refuse it, or warn of it.
    pub(super) fn object(&self) -> Option<Object> {
        reading(&self.document())
            .filter(|(_, warnings)| *warnings == 0)
            .map(|(object, _)| object)
    }
}

/// What the text of a document is read as, and how many warnings it gets. None if Istio would refuse it.
pub(super) fn reading(document: &Value) -> Option<(Object, usize)> {
    let mut records = check("", &yaml::lines(document).join("\n"));
    let record = records.pop().filter(|_| records.is_empty())?;
    let is_valid = record.verdict == Judgement::Valid;
    record
        .object
        .filter(|_| is_valid)
        .map(|object| (object, record.warnings.len()))
}

/// A port as it is written.
pub(super) fn port(number: u16, name: &str, protocol: Protocol) -> Value {
    json!({ "number": number, "name": name, "protocol": word(protocol) })
}

/// `tls-443`.
pub(super) fn port_name(number: u16, protocol: Protocol) -> String {
    format!(
        "{}-{number}",
        word(protocol).to_ascii_lowercase().replace('_', "-")
    )
}
