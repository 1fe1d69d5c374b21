//! `egress`: what a Sidecar imports, and on which ports.

use std::collections::{BTreeMap, BTreeSet};

use super::{CAPTURE_MODES, host};
use crate::{
    istio::{
        address,
        node::{Findings, Item, Node},
        object::{Bind, EgressListener},
        port::{self, RawPort},
        schema,
    },
    model::{Namespace, Protocol},
};

/// A listener as written.
pub(super) struct RawListener<'a> {
    at: Node<'a>,
    /// None for an element that is `null`.
    content: Option<Content<'a>>,
}

struct Content<'a> {
    port: Option<RawPort<'a>>,
    bind: Item<'a, &'a str>,
    capture_mode: usize,
    hosts: Vec<Item<'a, &'a str>>,
}

impl<'a> RawListener<'a> {
    pub(super) fn read_all(egress: &Node<'a>, found: &mut Findings) -> Vec<Self> {
        let mut listeners = Vec::new();
        for at in egress.list(found) {
            let content = at.is_mapping(found).then(|| Content::read(&at, found));
            listeners.push(Self { at, content });
        }
        listeners
    }

    pub(super) fn build(&self) -> Option<EgressListener> {
        let content = self.content.as_ref()?;
        let port = content.port.as_ref().and_then(|port| {
            let number = u16::try_from(port.number()).ok()?;
            Some((number, port.known_protocol().unwrap_or(Protocol::Auto)))
        });
        Some(EgressListener {
            port,
            hosts: content
                .hosts
                .iter()
                .filter_map(|host| host::build(host.value))
                .collect(),
            bind: content.bind(),
        })
    }
}

impl<'a> Content<'a> {
    fn read(at: &Node<'a>, found: &mut Findings) -> Self {
        let (port, bind) = (at.get("port"), at.get("bind"));
        Self {
            port: port.is_set().then(|| RawPort::read(&port, found)),
            bind: Item {
                value: bind.text(found),
                at: bind,
            },
            capture_mode: at.get("captureMode").choice(found, &CAPTURE_MODES).or_first(),
            hosts: at.get("hosts").texts(found),
        }
    }

    /// Without `bind`, what is not captured is on the loopback (`buildSidecarOutboundListeners`). With it, the mode
    /// does not matter: what is captured reaches the listener of its destination, bound or not.
    fn bind(&self) -> Bind {
        match address::parse_ip(self.bind.value).map(|address| address.to_canonical()) {
            Some(address) if address.is_unspecified() => Bind::Anywhere,
            Some(address) if !address.is_loopback() => Bind::At(address),
            None if self.bind.is_empty() && CAPTURE_MODES[self.capture_mode] != "NONE" => Bind::Services,
            Some(_) | None => Bind::Local,
        }
    }
}

pub(super) fn check(namespace: &Namespace, listeners: &[RawListener<'_>], found: &mut Findings) {
    let mut numbers = BTreeSet::new();
    let mut sockets = BTreeSet::new();
    let mut has_catch_all = false;
    for (position, RawListener { at, content }) in listeners.iter().enumerate() {
        let Some(content) = content else {
            found.error(at, "egress listener may not be null");
            continue;
        };
        let Some(port) = &content.port else {
            if has_catch_all {
                found.error(at, "sidecar: egress can have only one listener with empty port");
                continue;
            }
            has_catch_all = position + 1 == listeners.len();
            if !has_catch_all {
                let message =
                    "sidecar: the egress listener with empty port should be the last listener in the list";
                found.error(at, message);
            }
            check_hosts(namespace, at, content, found);
            continue;
        };
        check_port(port, content, found);
        if port.number() == 0 {
            if !sockets.insert(content.bind.value) {
                let message = "sidecar: unix domain socket values for listeners must be unique";
                found.error(&content.bind.at, message);
            }
        } else if !numbers.insert(port.number()) {
            let message = "sidecar: ports on IP bound listeners must be unique";
            found.error(&port.number_at(), message);
        }
        check_hosts(namespace, at, content, found);
    }
}

/// `validateSidecarEgressPortBindAndCaptureMode`.
fn check_port(port: &RawPort<'_>, content: &Content<'_>, found: &mut Findings) {
    check_port_itself(port, found);
    let bind = &content.bind;
    if port.number() != 0 {
        port::check_number(&port.number_at(), port.number(), found);
        return check_bind(bind, found);
    }
    match bind.strip_prefix(address::UNIX_PREFIX) {
        None => {
            let message = "sidecar: ports with 0 value must have a unix domain socket bind address";
            found.error(&port.number_at(), message);
        }
        Some(path) => {
            if let Err(message) = address::check_unix(path) {
                found.error(&bind.at, message);
            }
        }
    }
    if CAPTURE_MODES[content.capture_mode] == "IPTABLES" {
        let message = "sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners";
        found.error(&bind.at, message);
    }
}

/// What holds for the port of any listener, except for its number.
pub(super) fn check_port_itself(port: &RawPort<'_>, found: &mut Findings) {
    if let Some(target) = port.target.as_ref().filter(|target| target.value > 0) {
        found.error(&target.at, "targetPort has no impact on Sidecars");
    }
    if !port.name.is_empty() {
        port::check_name(&port.name.at, port.name.value, found);
    }
    port::check_protocol(&port.protocol.at, port.protocol.value, found);
}

/// The address of a listener that is no socket of the file system.
pub(super) fn check_bind(bind: &Item<'_, &str>, found: &mut Findings) {
    if !bind.is_empty() && address::parse_ip(bind.value).is_none() {
        found.error(&bind.at, format!("{} is not a valid IP", bind.value));
    }
}

fn check_hosts(namespace: &Namespace, at: &Node<'_>, content: &Content<'_>, found: &mut Findings) {
    schema::required(&at.get("hosts"), found);
    if content.hosts.is_empty() {
        let message = "sidecar: egress listener must contain at least one host";
        return found.error(&at.get("hosts"), message);
    }
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for host in &content.hosts {
        if let Some((import_namespace, name)) = host.split_once('/')
            && !import_namespace.starts_with('~')
        {
            let import_namespace = if import_namespace == "." {
                namespace.as_str()
            } else {
                import_namespace
            };
            let names = imports.entry(import_namespace).or_default();
            let is_covered = if name == "*" {
                !names.is_empty()
            } else {
                names.contains(name) || names.contains("*")
            };
            if is_covered {
                found.warning(&host.at, format!("duplicated egress host: {}", host.value));
            }
            names.insert(name);
        }
        host::check(host, found);
    }
    if imports.len() > 1 && imports.get("*").is_some_and(|names| names.contains("*")) {
        let message = "`*/*` host select all resources, no other hosts can be added";
        found.warning(&at.get("hosts"), message);
    }
}
