//! A change of a ServiceEntry that is there: ports, namespaces or addresses that are added to it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{
    group::Group,
    ports::{by_address, by_number},
    reading::reading,
};
use crate::{
    draft::{self, port_name},
    istio::{EndpointAddress, ExportTo, Object, ObjectId, ServiceEntry, ServicePort},
    model::{Namespace, Protocol, Transport},
    yaml::written,
};

/// Longest line of a document that is shown whole: lines of the output end at 8 KiB.
pub(super) const LONGEST: usize = 4 << 10;
/// The fields of `spec` that a suggestion changes.
const FIELDS: [&str; 3] = ["addresses", "ports", "exportTo"];

/// A ServiceEntry before and after.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which.
    pub id: ObjectId,
    /// The object as it is to be.
    pub object: Object,
    /// A JSON merge patch that leads there.
    pub patch: Value,
    /// The whole object as it is to be, if its text is known.
    pub whole: Option<Value>,
    /// What the text, or as much of it as is known, was before and is after.
    document: [Value; 2],
    pub(super) comments: Vec<String>,
}

impl Change {
    /// None if the object would not be valid.
    pub(super) fn new(before: &ServiceEntry, after: ServiceEntry, source: Option<&Value>) -> Option<Self> {
        let is_current = |source: &&Value| read(source, before).is_some_and(|(read, _)| *read == *before);
        let source = source.filter(is_current);
        let old = source
            .cloned()
            .unwrap_or_else(|| json!({ "spec": fields(before) }));
        let mut new = old.clone();
        extend(&mut new["spec"], before, &after);
        let mut object = Arc::new(after);
        if source.is_some() {
            let (changed, warnings) = read(&new, before)?;
            if warnings > read(&old, before)?.1 {
                return None;
            }
            object = changed;
        }
        let object = Object::ServiceEntry(object);
        let changed = FIELDS
            .into_iter()
            .filter(|field| old["spec"][*field] != new["spec"][*field]);
        let changed: Map<_, _> = changed
            .map(|field| (field.to_owned(), new["spec"][field].clone()))
            .collect();
        Some(Self {
            id: object.id(),
            object,
            patch: json!({ "spec": changed }),
            whole: source.is_some().then(|| new.clone()).filter(is_short),
            document: [old, new],
            comments: Vec::new(),
        })
    }

    /// The same, seen from what was there before an earlier change of the object.
    pub(super) fn after(mut self, earlier: Self) -> Self {
        let [old, _] = earlier.document;
        self.document[0] = old;
        if let (Some(patch), Some(before)) = (
            self.patch["spec"].as_object_mut(),
            earlier.patch["spec"].as_object(),
        ) {
            for (field, value) in before {
                patch.entry(field).or_insert_with(|| value.clone());
            }
        }
        let comments = earlier.comments.into_iter().chain(self.comments);
        self.comments = comments.collect();
        self
    }

    /// What differs, as lines that begin with a blank, `-` or `+`.
    pub fn difference(&self) -> Vec<String> {
        let mut lines = vec!["  spec:".to_owned()];
        for field in FIELDS {
            let [old, new] = [0, 1].map(|at| match &self.document[at]["spec"][field] {
                Value::Null => Vec::new(),
                value => written(&json!({ field: value })),
            });
            if old == new {
                continue;
            }
            let before = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
            let rest = old.len().min(new.len()) - before;
            let ends = old.iter().rev().zip(new.iter().rev()).take(rest);
            let after = ends.take_while(|(a, b)| a == b).count();
            let shown = |sign: &str, part: &[String]| -> Vec<String> {
                part.iter().map(|line| format!("{sign}   {line}")).collect()
            };
            lines.extend(shown(" ", &old[..before]));
            lines.extend(shown("-", &old[before..old.len() - after]));
            lines.extend(shown("+", &new[before..new.len() - after]));
            lines.extend(shown(" ", &old[old.len() - after..]));
        }
        lines
    }

    /// Whether whoever sees the object gets more by it.
    pub(super) fn is_for_all(&self) -> bool {
        let changed = &self.patch["spec"];
        ["addresses", "ports"]
            .iter()
            .any(|field| changed.get(*field).is_some())
    }

    /// What carries it out where the whole object is not known.
    pub fn command(&self) -> String {
        let ObjectId { namespace, name, .. } = &self.id;
        // The object's author has written the text, and a shell reads it.
        let patch = self.patch.to_string().replace('\'', r"'\''");
        format!("kubectl patch serviceentry -n {namespace} {name} --type merge -p '{patch}'")
    }
}

/// An entry with what an API server knows of `known`, and the number of warnings.
fn read(document: &Value, known: &ServiceEntry) -> Option<(Arc<ServiceEntry>, usize)> {
    let (Object::ServiceEntry(entry), warnings) = reading(document)? else {
        return None;
    };
    let mut entry = ServiceEntry::clone(&entry);
    entry.meta.created = known.meta.created;
    entry.allocated.clone_from(&known.allocated);
    Some((Arc::new(entry), warnings))
}

/// What `entry` would have to be for the group's flows. None if nothing is missing, or it cannot be added.
pub(super) fn extended(
    entry: &ServiceEntry,
    group: &Group<'_>,
    default: &[ExportTo],
) -> Option<ServiceEntry> {
    let is_unix = |it: &crate::istio::Endpoint| matches!(it.address, EndpointAddress::Unix(_));
    if entry.endpoints.iter().any(is_unix) {
        return None;
    }
    let mut after = entry.clone();
    for (number, transport) in group.ports() {
        match entry.ports.iter().find(|port| port.number == number) {
            // A number stands once in an entry, whatever carries it.
            Some(port) if port.protocol.transport() != transport => return None,
            Some(_) => {}
            None => after.ports.push(new_port(&after, (number, transport))),
        }
    }
    if !entry.addresses.is_empty() {
        let is_new = |address: &std::net::IpAddr| !entry.addresses.iter().any(|it| it.contains(address));
        let new = group.addresses().into_iter().filter(is_new);
        after.addresses.extend(new.map(ipnet::IpNet::from));
    }
    let effective = if entry.export_to.is_empty() {
        default
    } else {
        &entry.export_to
    };
    // Whoever exports an object to nobody means it.
    if effective.contains(&ExportTo::Nobody) {
        return None;
    }
    let missing = missing(effective, &entry.meta.namespace, group);
    if !missing.is_empty() && after != *entry {
        // It is near in neither way: those who see it now have no use for what is added, nor others for what it has.
        return None;
    }
    if !missing.is_empty() {
        after.export_to = effective.iter().cloned().chain(missing).collect();
    }
    (after != *entry).then_some(after)
}

fn new_port(entry: &ServiceEntry, (number, transport): (u16, Transport)) -> ServicePort {
    let protocol = by_number(number, transport);
    let protocol = if entry.addresses.is_empty() {
        protocol
    } else {
        by_address(protocol)
    };
    let name = port_name(number, protocol);
    let is_taken = |name: &str| entry.ports.iter().any(|port| port.name == name);
    let mut names = [name.clone()]
        .into_iter()
        .chain((2..).map(|it| format!("{name}-{it}")));
    ServicePort {
        number,
        name: names
            .find(|name| !is_taken(name))
            .expect("there are more numbers than ports"),
        protocol,
        target: None,
    }
}

/// The namespaces of the group that an `exportTo` leaves out.
fn missing(export_to: &[ExportTo], own: &Namespace, group: &Group<'_>) -> Vec<ExportTo> {
    if export_to.contains(&ExportTo::Everyone) {
        return Vec::new();
    }
    let users = group.namespaces().into_iter();
    let users = users.map(|it| {
        if it == *own {
            ExportTo::Own
        } else {
            ExportTo::Namespace(it)
        }
    });
    let is_named = |it: &ExportTo| {
        let by_name = |own: &Namespace| export_to.contains(&ExportTo::Namespace(own.clone()));
        export_to.contains(it) || *it == ExportTo::Own && by_name(own)
    };
    users.filter(|it| !is_named(it)).collect()
}

/// The fields of an entry whose text is not known.
fn fields(entry: &ServiceEntry) -> Value {
    let mut spec = Map::new();
    let mut add = |field: &str, list: Vec<Value>| {
        if !list.is_empty() {
            spec.insert(field.to_owned(), list.into());
        }
    };
    add("addresses", entry.addresses.iter().map(address).collect());
    add("ports", entry.ports.iter().map(port).collect());
    add("exportTo", entry.export_to.iter().map(export_word).collect());
    spec.into()
}

fn extend(spec: &mut Value, before: &ServiceEntry, after: &ServiceEntry) {
    let mut append = |field: &str, new: Vec<Value>| {
        if let Some(list) = spec[field].as_array_mut() {
            list.extend(new);
        } else if !new.is_empty() {
            spec[field] = new.into();
        }
    };
    append(
        "addresses",
        after.addresses[before.addresses.len()..]
            .iter()
            .map(address)
            .collect(),
    );
    append(
        "ports",
        after.ports[before.ports.len()..].iter().map(port).collect(),
    );
    if before.export_to != after.export_to {
        spec["exportTo"] = after.export_to.iter().map(export_word).collect();
    }
    if let Some(fields) = spec.as_object_mut() {
        // Looking a field up to append to it makes it.
        fields.retain(|_, value| !value.is_null());
    }
}

fn port(port: &ServicePort) -> Value {
    let mut value = draft::port(port.number, &port.name, port.protocol);
    if let Some(fields) = value.as_object_mut()
        && port.protocol == Protocol::Auto
    {
        fields.shift_remove("protocol");
    }
    if let Some(target) = port.target {
        value["targetPort"] = target.into();
    }
    value
}

fn address(network: &ipnet::IpNet) -> Value {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string().into()
    } else {
        network.to_string().into()
    }
}

fn export_word(to: &ExportTo) -> Value {
    match to {
        ExportTo::Everyone => "*".into(),
        ExportTo::Nobody => "~".into(),
        ExportTo::Own => ".".into(),
        ExportTo::Namespace(name) => name.as_str().into(),
    }
}

fn is_short(value: &Value) -> bool {
    written(value).iter().all(|line| line.len() < LONGEST)
}
