//! Small builders of objects, and a world to put them into: apply objects, apply a workload, read the rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    istio::{
        EgressHost, EgressListener, EgressNamespace, Endpoint, EndpointAddress, EndpointSlice, ExportTo,
        MeshConfig, Meta, NamespaceObject, Object, OutboundMode, Pod, PodDns, PodPhase, Resolution, Service,
        ServiceEntry, ServiceKind, ServicePort, Sidecar, SlicePort, WorkloadEntry,
    },
    model::{CgroupId, Host, Labels, Namespace, Protocol, Transport, Workload},
    policy::DesiredPolicy,
    registry::{Registry, Update},
    rule::{Rules, To},
    settings::Settings,
};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `a=b,c=d`.
pub(crate) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `namespace/name`.
pub(crate) fn meta(id: &str) -> Meta {
    let (namespace, name) = id.split_once('/').unwrap();
    Meta {
        namespace: Namespace::new(namespace),
        name: name.to_owned(),
        labels: Labels::new(),
        annotations: Labels::new(),
        created: None,
    }
}

pub(crate) fn port(number: u16, protocol: Protocol) -> ServicePort {
    ServicePort {
        number,
        name: format!("{protocol:?}-{number}").to_lowercase(),
        protocol,
        target: None,
    }
}

pub(crate) fn export(text: &[&str]) -> Vec<ExportTo> {
    let parse = |text: &&str| match *text {
        "*" => ExportTo::Everyone,
        "~" => ExportTo::Nobody,
        "." => ExportTo::Own,
        name => ExportTo::Namespace(Namespace::new(name)),
    };
    text.iter().map(parse).collect()
}

pub(crate) fn endpoint(address: &str) -> Endpoint {
    let address = if let Some(path) = address.strip_prefix("unix://") {
        EndpointAddress::Unix(path.to_owned())
    } else if address.is_empty() {
        EndpointAddress::Unset
    } else if let Ok(ip) = address.parse() {
        EndpointAddress::Ip(ip)
    } else {
        EndpointAddress::Host(Host::new(address))
    };
    Endpoint {
        address,
        ports: BTreeMap::new(),
        labels: Labels::new(),
        network: String::new(),
    }
}

/// A ServiceEntry, resolution NONE.
pub(crate) fn entry(id: &str, host: &str, ports: &[(u16, Protocol)]) -> ServiceEntry {
    ServiceEntry {
        meta: meta(id),
        hosts: vec![Host::new(host)],
        addresses: Vec::new(),
        ports: ports
            .iter()
            .map(|(number, protocol)| port(*number, *protocol))
            .collect(),
        resolution: Resolution::None,
        endpoints: Vec::new(),
        selector: None,
        export_to: Vec::new(),
        allocated: BTreeMap::new(),
    }
}

impl ServiceEntry {
    pub(crate) fn resolution(mut self, resolution: Resolution) -> Self {
        self.resolution = resolution;
        self
    }

    pub(crate) fn addresses(mut self, addresses: &[&str]) -> Self {
        let parse = |text: &&str| text.parse::<IpNet>().unwrap_or_else(|_| ip(text).into()).trunc();
        self.addresses = addresses.iter().map(parse).collect();
        self
    }

    pub(crate) fn endpoints(mut self, addresses: &[&str]) -> Self {
        self.endpoints = addresses.iter().map(|address| endpoint(address)).collect();
        self
    }

    pub(crate) fn selector(mut self, text: &str) -> Self {
        self.selector = Some(labels(text));
        self
    }

    pub(crate) fn export(mut self, to: &[&str]) -> Self {
        self.export_to = export(to);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.hosts.push(Host::new(host));
        self
    }

    pub(crate) fn created(mut self, at: i64) -> Self {
        self.meta.created = Some(at);
        self
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.meta.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn allocated(mut self, host: &str, address: &str) -> Self {
        self.allocated
            .entry(Host::new(host))
            .or_default()
            .push(ip(address));
        self
    }
}

pub(crate) fn workload_entry(id: &str, address: &str, of: &str) -> WorkloadEntry {
    WorkloadEntry {
        meta: meta(id),
        endpoint: Endpoint {
            labels: labels(of),
            ..endpoint(address)
        },
        healthy: true,
    }
}

pub(crate) fn pod(id: &str, addresses: &[&str], of: &str) -> Pod {
    Pod {
        meta: Meta {
            labels: labels(of),
            ..meta(id)
        },
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        uid: String::new(),
        node: String::new(),
        host_network: false,
        phase: PodPhase::default(),
        is_ready: true,
        proxy: None,
        dns: PodDns::default(),
        controller: None,
        containers: Vec::new(),
    }
}

pub(crate) fn cluster_ip(addresses: &[&str]) -> ServiceKind {
    ServiceKind::ClusterIp(addresses.iter().map(|address| ip(address)).collect())
}

pub(crate) fn service(id: &str, kind: ServiceKind, ports: &[(u16, Protocol)]) -> Service {
    Service {
        meta: meta(id),
        kind,
        ports: ports
            .iter()
            .map(|(number, protocol)| port(*number, *protocol))
            .collect(),
        export_to: Vec::new(),
        selector: Labels::new(),
    }
}

pub(crate) fn slice(id: &str, service: &str, addresses: &[&str]) -> EndpointSlice {
    EndpointSlice {
        meta: meta(id),
        service: service.to_owned(),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
        ports: Vec::new(),
    }
}

impl EndpointSlice {
    /// With a port that the endpoints serve over TCP.
    pub(crate) fn serving(mut self, name: &str, number: u16) -> Self {
        self.ports.push(SlicePort {
            name: name.to_owned(),
            number,
            transport: Transport::Tcp,
        });
        self
    }
}

pub(crate) fn namespace(name: &str, of: &str) -> NamespaceObject {
    NamespaceObject {
        meta: Meta {
            labels: labels(of),
            ..meta(&format!("/{name}"))
        },
    }
}

/// `ns/host`, `*/host`, `./host`, `~/host`, `~ns/host`.
pub(crate) fn egress(hosts: &[&str]) -> EgressListener {
    let parse = |text: &&str| {
        let (namespace, host) = text.split_once('/').unwrap();
        let (imports, namespace) = match namespace.strip_prefix('~') {
            Some(rest) => (false, rest),
            None => (true, namespace),
        };
        let namespace = match namespace {
            "*" | "" => EgressNamespace::Any,
            "." => EgressNamespace::Own,
            name => EgressNamespace::Named(Namespace::new(name)),
        };
        EgressHost {
            imports,
            namespace,
            host: Host::new(host),
        }
    };
    EgressListener {
        port: None,
        hosts: hosts.iter().map(parse).collect(),
        is_bound: false,
    }
}

impl EgressListener {
    pub(crate) fn on(mut self, port: u16, protocol: Protocol) -> Self {
        self.port = Some((port, protocol));
        self
    }
}

pub(crate) fn sidecar(id: &str, egress: Vec<EgressListener>) -> Sidecar {
    Sidecar {
        meta: meta(id),
        selector: None,
        egress,
        mode: None,
    }
}

impl Sidecar {
    pub(crate) fn selector(mut self, text: &str) -> Self {
        self.selector = Some(labels(text));
        self
    }

    pub(crate) fn mode(mut self, mode: OutboundMode) -> Self {
        self.mode = Some(mode);
        self
    }

    pub(crate) fn created(mut self, at: i64) -> Self {
        self.meta.created = Some(at);
        self
    }
}

macro_rules! objects {
    ($($type:ident => $variant:ident),*) => {
        $(
            impl From<$type> for Object {
                fn from(object: $type) -> Self {
                    Self::$variant(Arc::new(object))
                }
            }

            impl From<$type> for Update {
                fn from(object: $type) -> Self {
                    Self::Apply(object.into())
                }
            }
        )*
    };
}

objects!(
    ServiceEntry => ServiceEntry, WorkloadEntry => WorkloadEntry, Sidecar => Sidecar, MeshConfig => MeshConfig,
    Service => Service, EndpointSlice => EndpointSlice, Pod => Pod, NamespaceObject => Namespace
);

pub(crate) fn resolved(host: &str, addresses: &[&str]) -> Update {
    Update::Resolved {
        host: Host::new(host),
        addresses: addresses.iter().map(|address| ip(address)).collect(),
    }
}

pub(crate) fn workload(cgroup: u64, namespace: &str, of: &str) -> Update {
    let workload = Workload::new(Namespace::new(namespace), &format!("w{cgroup}"), labels(of));
    Update::Workload(CgroupId(cgroup), workload)
}

/// A registry that holds `updates`.
pub(crate) fn world(settings: Settings, updates: impl IntoIterator<Item = Update>) -> Registry {
    let mut registry = Registry::new(settings);
    updates.into_iter().for_each(|update| registry.apply(update));
    registry
}

/// The same with a proxy.
pub(crate) fn proxied(cgroup: u64, namespace: &str, of: &str) -> Update {
    let Update::Workload(cgroup, workload) = workload(cgroup, namespace, of) else {
        unreachable!("it is a workload")
    };
    let workload = Workload {
        has_proxy: true,
        ..workload
    };
    Update::Workload(cgroup, workload)
}

/// The policy of a workload; there is one at most.
pub(crate) fn policy(registry: &mut Registry, cgroup: u64) -> DesiredPolicy {
    let desired = registry.desired();
    let mut policies = desired.policies.iter();
    let mut of = policies
        .by_ref()
        .filter(|policy| policy.workloads.contains(&CgroupId(cgroup)));
    let policy = of.next().unwrap().clone();
    assert!(of.next().is_none(), "a workload has one policy");
    policy
}

/// All that a workload is allowed, and the invariants of what it is made of.
pub(crate) fn rules(registry: &mut Registry, cgroup: u64) -> Rules {
    let desired = registry.desired();
    let policy = policy(registry, cgroup);
    let mut rules = Rules::clone(&policy.own);
    let shared = desired.shared_by(&policy);
    assert!(
        policy.own.is_disjoint(shared),
        "what is shared is not a policy's own"
    );
    rules.extend(shared.iter());
    rules
}

/// [`rules`] as text, with hosts by their names.
pub(crate) fn allowed(registry: &mut Registry, cgroup: u64) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    for rule in rules(registry, cgroup) {
        texts.insert(match rule.to {
            To::Host(id) => {
                let host = registry.host(id).unwrap();
                assert!(registry.patterns().contains(&host), "a rule names it");
                format!(
                    "{} {host}:{}",
                    format!("{:?}", rule.transport).to_lowercase(),
                    rule.port
                )
            }
            To::Any | To::Address(_) | To::Network(_) => rule.to_string(),
        });
    }
    texts
}

pub(crate) fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(ToString::to_string).collect()
}
