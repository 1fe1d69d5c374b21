//! Names by where they stand: below keys that hold names, and in `ServiceEntry frontend/db`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{placeholders::Kind, words};
use crate::{bundle::Files, report::escape::Line};

/// Kinds of objects whose name stands behind them with a namespace.
const KINDS: [&str; 8] = [
    "ServiceEntry ",
    "WorkloadEntry ",
    "Sidecar ",
    "VirtualService ",
    "MeshConfig ",
    "Service ",
    "EndpointSlice ",
    "Pod ",
];

/// Every name that is known, in lower case.
#[derive(Debug, Default)]
pub(super) struct Known {
    names: BTreeMap<String, Kind>,
    /// The same by their first words, the longest first.
    by_word: BTreeMap<String, Vec<String>>,
    /// Hosts, which are no fields whatever they look like.
    hosts: BTreeSet<String>,
}

impl Known {
    /// Those of the files.
    pub(super) fn of(files: &Files) -> Self {
        let mut known = Self::default();
        for value in files.values() {
            known.look(None, value);
        }
        for name in known.names.keys() {
            let word = name.split(|c| !is_word(c)).next().unwrap_or_default();
            known
                .by_word
                .entry(word.to_owned())
                .or_default()
                .push(name.clone());
        }
        for names in known.by_word.values_mut() {
            names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        }
        known
    }

    /// The longest known name that begins a text and ends with a word.
    pub(super) fn at(&self, lower: &str) -> Option<(&str, Kind)> {
        let word = lower.split(|c| !is_word(c)).next()?;
        let names = self.by_word.get(word)?.iter();
        let mut fits = names.filter(|name| {
            let after = lower.strip_prefix(name.as_str()).map(|rest| rest.chars().next());
            after.is_some_and(|next| next.is_none_or(|next| !is_word(next)))
        });
        let name = fits.next()?;
        Some((name, *self.names.get(name)?))
    }

    /// The kind of a name.
    pub(super) fn kind(&self, lower: &str) -> Option<Kind> {
        self.names.get(lower).copied()
    }

    /// Whether a text is a host somewhere.
    pub(super) fn is_host(&self, lower: &str) -> bool {
        self.hosts.contains(lower)
    }

    fn look(&mut self, key: Option<&str>, value: &Value) {
        match value {
            Value::String(text) => self.text(key, text),
            Value::Array(values) => values.iter().for_each(|value| self.look(key, value)),
            Value::Object(fields) => self.fields(key, fields),
            _ => {}
        }
    }

    fn fields(&mut self, above: Option<&str>, fields: &Map<String, Value>) {
        // A map of labels has keys of somebody's own.
        let is_labels = matches!(above, Some("labels" | "matchLabels"));
        for (key, value) in fields {
            match (key.as_str(), value) {
                _ if is_labels => self.look(Some("label"), value),
                ("name", Value::String(name)) if fields.contains_key("namespace") => {
                    self.add(
                        if fields.contains_key("kind") {
                            Kind::Object
                        } else {
                            Kind::Workload
                        },
                        name,
                    );
                }
                (key, value) => self.look(Some(key), value),
            }
        }
    }

    fn text(&mut self, key: Option<&str>, text: &str) {
        match key {
            Some("namespace" | "rootNamespace" | "meshNamespace" | "excludedNamespaces" | "exportTo") => {
                self.add(Kind::Namespace, text);
            }
            Some("workload" | "workloads") => self.workload(text),
            Some("pod") => self.add(Kind::Pod, text),
            Some("container" | "exemptContainers") => self.add(Kind::Container, text),
            // The log escapes it where it stands in a sentence.
            Some("process") => {
                self.add(Kind::Process, text);
                self.add(Kind::Process, &Line(text).to_string());
            }
            Some("node" | "nodename") => self.add(Kind::Node, text),
            Some("service" | "context" | "cluster") => self.add(Kind::Object, text),
            Some("user" | "unit" | "slice") => {
                let stem = words::end(text).map_or(text, |end| &text[..text.len() - end.len()]);
                self.add(Kind::Unit, stem);
            }
            Some("label" | "values") => self.add(Kind::Label, text),
            Some("labels" | "selector") => {
                if let Some((_, value)) = text.split_once('=') {
                    self.add(Kind::Label, value);
                }
            }
            Some("host" | "hosts" | "pattern" | "destinations" | "endpoints") => self.host(text),
            Some(
                "files" | "file" | "kubeconfig" | "tokenFile" | "cgroup" | "roots" | "cgroupRoots" | "path",
            ) => {
                for part in text.split('/') {
                    let stem = words::end(part).map_or(part, |end| &part[..part.len() - end.len()]);
                    if !words::is_part(part) && !words::is_part(stem) {
                        self.add(Kind::Path, stem);
                    }
                }
            }
            _ => {}
        }
        for kind in KINDS {
            for (at, _) in text.match_indices(kind) {
                let rest = &text[at + kind.len()..];
                let end = rest.find(|c| !is_name(c) && c != '/').unwrap_or(rest.len());
                if let Some((namespace, name)) = rest[..end].split_once('/') {
                    self.add(Kind::Namespace, namespace);
                    self.add(Kind::Object, name);
                }
            }
        }
    }

    /// `namespace/name`, a name, or what is said of one that is not known.
    fn workload(&mut self, text: &str) {
        if let Some(unit) = text.strip_prefix("unit ") {
            return self.text(Some("unit"), unit);
        }
        if let Some(path) = text.strip_prefix("cgroup ") {
            return self.text(Some("path"), path);
        }
        match text.split_once('/') {
            Some((namespace, name)) => {
                self.add(Kind::Namespace, namespace);
                self.add(Kind::Workload, name);
            }
            None if !text.contains(' ') => self.add(Kind::Workload, text),
            None => {}
        }
    }

    /// One without a dot is known only where it stands as a host.
    fn host(&mut self, text: &str) {
        let bare = text
            .strip_prefix("*.")
            .unwrap_or(text)
            .trim_end_matches('.')
            .to_lowercase();
        if bare.parse::<std::net::IpAddr>().is_ok() || bare.contains(['/', ' ', '*']) {
            return;
        }
        if !bare.contains('.') {
            self.add(Kind::Host, &bare);
        }
        self.hosts.insert(bare);
    }

    fn add(&mut self, kind: Kind, name: &str) {
        let name = name.trim_matches(|c| !is_word(c)).to_lowercase();
        if name.is_empty() || words::is_public(&name) {
            return;
        }
        let held = self.names.entry(name).or_insert(kind);
        // A workload is often called as its namespace: the same name, the same placeholder.
        *held = kind.min(*held);
    }
}

/// Whether names are bounded by what is not this.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether names of Kubernetes have it.
pub(super) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}
