//! Random worlds of valid objects, so small that everything collides with everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::naive::Given;
use enforcer_core::{
    explain::Named,
    istio::{
        Bind, EgressHost, EgressListener, EgressNamespace, Endpoint, EndpointAddress, EndpointSlice,
        ExportTo, LabelExpression, LabelOperator, LabelSelector, MeshConfig, Meta, NamespaceObject, Object,
        OutboundMode, Pod, PodDns, PodPhase, Resolution, Service, ServiceEntry, ServiceEntryVisibility,
        ServiceKind, ServicePort, Sidecar, SlicePort, Visibility, WorkloadEntry,
    },
    model::{CgroupId, Destination, Enforcement, Host, Labels, Namespace, Protocol, Transport, Workload},
    registry::Update,
    settings::{Allowance, Matching, Settings, UdpPolicy},
};
use proptest::{collection::vec, option::weighted, prelude::*, sample::select, sample::subsequence};

const NAMESPACES: &[&str] = &["a", "b", "istio-system"];
const ENTRY_HOSTS: &[&str] = &[
    "x.example",
    "y.example",
    "*.example",
    "*.sub.example",
    "s.b.svc.cluster.local",
];
const NAMES: &[&str] = &["x.example", "y.example", "z.example", "a.sub.example", "example"];
const ADDRESSES: &[&str] = &[
    "192.0.2.1",
    "192.0.2.2",
    "192.0.2.4",
    "2001:db8::1",
    "2001:db8::2",
];
const NETWORKS: &[&str] = &[
    "192.0.2.0/30",
    "192.0.2.2/31",
    "0.0.0.0/0",
    "2001:db8::/127",
    "::/0",
    "::ffff:192.0.2.0/126",
];
const PORTS: &[u16] = &[53, 80, 443, 15021];
const PROTOCOLS: &[Protocol] = &[
    Protocol::Http,
    Protocol::Http2,
    Protocol::Grpc,
    Protocol::GrpcWeb,
    Protocol::HttpProxy,
    Protocol::Https,
    Protocol::Tls,
    Protocol::Tls,
    Protocol::Tcp,
    Protocol::Tcp,
    Protocol::Mongo,
    Protocol::Redis,
    Protocol::Mysql,
    Protocol::Udp,
    Protocol::Udp,
    Protocol::Auto,
    Protocol::Auto,
];

fn one(texts: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    select(texts)
}

fn address() -> impl Strategy<Value = IpAddr> {
    one(ADDRESSES).prop_map(|text| text.parse().expect("it is one"))
}

fn addresses() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    subsequence(ADDRESSES, 0..=2).prop_map(|texts| {
        let addresses = texts.into_iter().map(|text| text.parse().expect("it is one"));
        addresses.collect()
    })
}

/// Where the worlds' workloads want to go.
pub(crate) fn destination() -> impl Strategy<Value = Destination> {
    let address = prop_oneof![
        12 => address(),
        1 => select(&["198.51.100.9", "2001:db8:9::9", "127.0.0.1", "::1", "0.0.0.0", "::ffff:192.0.2.1"][..])
            .prop_map(|text| text.parse().expect("it is one")),
    ];
    let transport = prop_oneof![4 => Just(Transport::Tcp), 1 => Just(Transport::Udp)];
    // Of the cluster's endpoints, and HBONE.
    let port = prop_oneof![8 => select(PORTS), 1 => Just(8080), 1 => Just(15008)];
    (transport, address, port)
        .prop_map(|(transport, address, port)| Destination::new(transport, address, port))
}

/// Where they want to go by name.
pub(crate) fn named() -> impl Strategy<Value = Named> {
    (one(NAMES), destination()).prop_map(|(name, to)| Named {
        transport: to.transport,
        host: Host::new(name),
        port: to.port,
    })
}

/// Every host that an object can have, and every name.
pub(crate) fn hosts() -> impl Iterator<Item = Host> {
    let hosts: BTreeSet<_> = ENTRY_HOSTS.iter().chain(NAMES).collect();
    hosts.into_iter().map(|host| Host::new(host))
}

pub(crate) fn given() -> impl Strategy<Value = Given> {
    (1..4_u64, address(), one(NAMES)).prop_map(|(to, address, name)| Given {
        to: CgroupId(to),
        address,
        name: Host::new(name),
    })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    one(NAMESPACES).prop_map(Namespace::new)
}

/// Of pods, entries and workloads.
fn labels() -> impl Strategy<Value = Labels> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let app = weighted(0.7, one(&["web", "db"]));
    (app, weighted(0.2, Just("1"))).prop_map(move |(app, version)| {
        let app = app.map(|value| pair("app", value));
        app.into_iter()
            .chain(version.map(|value| pair("version", value)))
            .collect()
    })
}

/// The label `istio.io/rev` on some.
fn revision() -> impl Strategy<Value = Option<&'static str>> {
    weighted(0.12, one(&["r1", "r2"]))
}

fn meta(names: &'static [&'static str]) -> impl Strategy<Value = Meta> {
    (namespace(), one(names), weighted(0.8, 0..3_i64), revision()).prop_map(
        |(namespace, name, created, revision)| {
            let label = |value: &str| ("istio.io/rev".to_owned(), value.to_owned());
            Meta {
                namespace,
                name: name.to_owned(),
                labels: revision.map(label).into_iter().collect(),
                annotations: Labels::new(),
                created,
            }
        },
    )
}

fn export_to() -> impl Strategy<Value = Vec<ExportTo>> {
    let named = |name| ExportTo::Namespace(Namespace::new(name));
    prop_oneof![
        6 => Just(vec![]),
        1 => Just(vec![ExportTo::Everyone]),
        2 => Just(vec![ExportTo::Own]),
        1 => Just(vec![ExportTo::Nobody]),
        2 => Just(vec![named("a")]),
        1 => Just(vec![named("a"), named("b")]),
        1 => Just(vec![ExportTo::Own, named("a")]),
    ]
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    (
        subsequence(PORTS, 0..=2),
        vec(select(PROTOCOLS), 2),
        weighted(0.3, select(PORTS)),
    )
        .prop_map(|(numbers, protocols, target)| {
            let ports = numbers.into_iter().zip(protocols);
            ports
                .map(|(number, protocol)| ServicePort {
                    number,
                    name: format!("p{number}"),
                    protocol,
                    target,
                })
                .collect()
        })
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        4 => address().prop_map(EndpointAddress::Ip),
        3 => one(NAMES).prop_map(|name| EndpointAddress::Host(Host::new(name))),
        2 => Just(EndpointAddress::Unix("/run/s".to_owned())),
        1 => Just(EndpointAddress::Unset),
    ];
    (address, labels()).prop_map(|(address, labels)| Endpoint {
        address,
        ports: BTreeMap::new(),
        labels,
        network: String::new(),
    })
}

fn entry() -> impl Strategy<Value = ServiceEntry> {
    let resolution = select(
        &[
            Resolution::None,
            Resolution::None,
            Resolution::Static,
            Resolution::Static,
            Resolution::Dns,
            Resolution::Dns,
            Resolution::DnsRoundRobin,
            Resolution::DynamicDns,
        ][..],
    );
    let address = prop_oneof![
        5 => address().prop_map(Into::into),
        5 => one(NETWORKS).prop_map(|text| text.parse().expect("it is one")),
        1 => one(&["0.0.0.0/32", "::/128"]).prop_map(|text| text.parse().expect("it is one")),
    ];
    let what = (meta(&["p", "q"]), subsequence(ENTRY_HOSTS, 1..=2), ports());
    let how = (
        resolution,
        prop_oneof![3 => Just(vec![]), 2 => vec(address, 1..=2)],
        vec(endpoint(), 0..=2),
        weighted(0.25, labels()),
        weighted(0.15, addresses()),
    );
    let marks = (
        prop::bool::weighted(0.2),
        prop_oneof![3 => Just(0_u64), 1 => Just(1)],
    );
    (what, how, export_to(), marks).prop_map(
        |(
            (meta, hosts, ports),
            (resolution, addresses, endpoints, selector, allocated),
            export_to,
            (opts_out, label_sum),
        )| {
            let hosts: Vec<_> = hosts.into_iter().map(Host::new).collect();
            let allocated = allocated.map(|addresses| (hosts[0].clone(), addresses.into_iter().collect()));
            valid(ServiceEntry {
                meta,
                hosts,
                addresses,
                ports,
                resolution,
                endpoints,
                selector,
                export_to,
                allocated: allocated.into_iter().collect(),
                opts_out,
                label_sum,
            })
        },
    )
}

/// Takes away what Istio would not admit beside the rest.
fn valid(mut entry: ServiceEntry) -> ServiceEntry {
    let is_stream_or_http = |port: &ServicePort| port.protocol.is_http() || port.protocol.is_tls();
    let is_unix = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Unix(_));
    let is_name = |endpoint: &Endpoint| matches!(endpoint.address, EndpointAddress::Host(_));
    if entry.selector.is_some() || matches!(entry.resolution, Resolution::None | Resolution::DynamicDns) {
        entry.endpoints.clear();
    }
    if entry.resolution != Resolution::None && !entry.ports.iter().all(is_stream_or_http) {
        entry.hosts.truncate(1);
    }
    match entry.resolution {
        Resolution::None => {}
        Resolution::Static => {
            let ports = entry.ports.len();
            entry
                .endpoints
                .retain(|endpoint| !is_name(endpoint) && (ports == 1 || !is_unix(endpoint)));
        }
        Resolution::Dns | Resolution::DnsRoundRobin => {
            entry
                .addresses
                .retain(|network| network.prefix_len() == network.max_prefix_len());
            entry.endpoints.retain(|endpoint| !is_unix(endpoint));
            if entry.resolution == Resolution::DnsRoundRobin {
                entry.endpoints.truncate(1);
            }
            if entry.endpoints.is_empty() && entry.hosts.iter().any(Host::is_wildcard) {
                entry.hosts = vec![Host::new("x.example")];
            }
        }
        Resolution::DynamicDns => {
            entry.addresses.clear();
            entry.hosts.retain(Host::is_wildcard);
            if entry.hosts.is_empty() {
                entry.hosts = vec![Host::new("*.example")];
            }
            entry.ports.retain(|port| {
                let protocol = port.protocol;
                protocol == Protocol::Tls
                    || matches!(protocol, Protocol::Http | Protocol::Grpc | Protocol::Http2)
            });
        }
    }
    entry.addresses = entry.addresses.iter().map(ipnet::IpNet::trunc).collect();
    entry
}

fn service() -> impl Strategy<Value = Service> {
    let kind = prop_oneof![
        3 => addresses().prop_map(|addresses| ServiceKind::ClusterIp(addresses.into_iter().collect())),
        2 => Just(ServiceKind::Headless),
        1 => Just(ServiceKind::ExternalName(Host::new("x.example"))),
    ];
    (meta(&["s"]), kind, ports(), export_to(), any::<bool>()).prop_map(
        |(meta, kind, mut ports, export_to, is_dns)| {
            if is_dns {
                // As the cluster's DNS: one number, two transports.
                ports = [Protocol::Udp, Protocol::Tcp]
                    .map(|protocol| ServicePort {
                        number: 53,
                        name: format!("{protocol:?}"),
                        protocol,
                        target: None,
                    })
                    .into();
            }
            Service {
                meta,
                kind,
                ports,
                export_to,
                selector: Labels::new(),
            }
        },
    )
}

fn listener() -> impl Strategy<Value = EgressListener> {
    let namespace = prop_oneof![
        3 => Just(EgressNamespace::Any),
        2 => Just(EgressNamespace::Own),
        2 => namespace().prop_map(EgressNamespace::Named),
    ];
    let host =
        prop_oneof![3 => Just("*"), 2 => one(&["x.example", "y.example", "*.example", "*.sub.example"])];
    let host =
        (prop::bool::weighted(0.8), namespace, host).prop_map(|(imports, namespace, host)| EgressHost {
            imports,
            namespace,
            host: Host::new(host),
        });
    let port = weighted(0.5, (select(PORTS), select(PROTOCOLS)));
    let bind = prop_oneof![
        7 => Just(Bind::Services),
        1 => Just(Bind::Anywhere),
        1 => address().prop_map(Bind::At),
        1 => Just(Bind::Local),
    ];
    (port, vec(host, 1..=3), bind).prop_map(|(port, hosts, bind)| EgressListener { port, hosts, bind })
}

fn sidecar() -> impl Strategy<Value = Sidecar> {
    let mode = weighted(
        0.3,
        select(
            &[
                OutboundMode::AllowAny,
                OutboundMode::RegistryOnly,
                OutboundMode::RegistryOnly,
            ][..],
        ),
    );
    (
        meta(&["p", "q"]),
        weighted(0.4, labels()),
        vec(listener(), 0..=3),
        mode,
    )
        .prop_map(|(meta, selector, egress, mode)| Sidecar {
            meta,
            selector,
            egress: admitted(egress),
            mode,
        })
}

/// Takes away what Istio would not admit: ports once each, and one listener for all of them at the end.
fn admitted(mut egress: Vec<EgressListener>) -> Vec<EgressListener> {
    let mut seen = BTreeSet::new();
    egress.retain(|listener| seen.insert(listener.port.map(|(number, _)| number)));
    egress.sort_by_key(|listener| listener.port.is_none());
    egress
}

fn label_selector() -> impl Strategy<Value = LabelSelector> {
    let expression = |operator| LabelSelector {
        expressions: vec![LabelExpression {
            key: "team".to_owned(),
            operator,
        }],
        ..LabelSelector::default()
    };
    let by_name = LabelSelector {
        labels: [("kubernetes.io/metadata.name".to_owned(), "a".to_owned())].into(),
        ..LabelSelector::default()
    };
    select(vec![
        by_name,
        expression(LabelOperator::In(vec!["x".to_owned()])),
        expression(LabelOperator::NotIn(vec!["x".to_owned()])),
        expression(LabelOperator::Exists),
        expression(LabelOperator::DoesNotExist),
    ])
}

fn mesh() -> impl Strategy<Value = MeshConfig> {
    let default_export_to = prop_oneof![
        2 => Just(vec![ExportTo::Everyone]),
        1 => Just(vec![ExportTo::Own]),
        1 => Just(vec![ExportTo::Nobody]),
        1 => Just(vec![ExportTo::Namespace(Namespace::new("a"))]),
    ];
    let visibility = select(&[Visibility::None, Visibility::Namespace, Visibility::Public][..]);
    let policies = vec((label_selector(), visibility), 0..=2);
    let visibility = weighted(0.5, (policies, prop::bool::weighted(0.7)));
    let mode = weighted(
        0.3,
        select(&[OutboundMode::AllowAny, OutboundMode::RegistryOnly][..]),
    );
    let discovery = prop_oneof![3 => Just(vec![]), 1 => vec(label_selector(), 1..=2)];
    (
        mode,
        default_export_to,
        visibility,
        discovery,
        select(&["istio-system", "b"][..]),
    )
        .prop_map(
            |(mode, default_export_to, visibility, discovery_selectors, root)| MeshConfig {
                mode,
                default_export_to,
                root_namespace: Namespace::new(root),
                discovery_selectors,
                visibility: visibility.map(|(policies, apply_to_sidecars)| ServiceEntryVisibility {
                    policies,
                    apply_to_sidecars,
                }),
                ..MeshConfig::default()
            },
        )
}

fn slice() -> impl Strategy<Value = EndpointSlice> {
    let names = subsequence(&["p53", "p80", "p443", "p15021", "Udp", "Tcp", ""][..], 2..=6);
    let number = select(&[8080, 443, 0][..]);
    (meta(&["s-1", "s-2"]), addresses(), names, number).prop_map(|(meta, addresses, names, number)| {
        EndpointSlice {
            meta,
            service: "s".to_owned(),
            addresses: addresses.into_iter().collect(),
            ports: names
                .into_iter()
                .map(|name| SlicePort {
                    name: name.to_owned(),
                    number,
                    transport: Transport::Tcp,
                })
                .collect(),
        }
    })
}

fn pod() -> impl Strategy<Value = Pod> {
    let phase = select(&[PodPhase::Running, PodPhase::Running, PodPhase::Ending][..]);
    let state = (prop::bool::weighted(0.7), phase);
    (meta(&["p", "q"]), labels(), addresses(), state).prop_map(
        |(mut meta, labels, addresses, (is_ready, phase))| {
            meta.labels.extend(labels);
            Pod {
                meta,
                addresses: addresses.into_iter().collect(),
                uid: String::new(),
                node: String::new(),
                host_network: false,
                phase,
                is_ready,
                proxy: None,
                dns: PodDns::default(),
                controller: None,
                containers: Vec::new(),
            }
        },
    )
}

fn workload_entry() -> impl Strategy<Value = WorkloadEntry> {
    (meta(&["p", "q"]), labels(), endpoint(), prop::bool::weighted(0.8)).prop_map(
        |(mut meta, labels, endpoint, healthy)| {
            meta.labels.extend(labels);
            WorkloadEntry {
                meta,
                endpoint,
                healthy,
            }
        },
    )
}

fn namespace_object() -> impl Strategy<Value = NamespaceObject> {
    let team = weighted(0.6, one(&["x", "y"]));
    let mode = weighted(0.4, one(&["off", "audit", "enforce", "loud"]));
    (one(NAMESPACES), team, mode).prop_map(|(name, team, mode)| {
        let label = |key: &str, value: Option<&str>| Some((key.to_owned(), value?.to_owned()));
        let labels = [label("team", team), label(Enforcement::LABEL, mode)];
        NamespaceObject {
            meta: Meta {
                namespace: Namespace::new(""),
                name: name.to_owned(),
                labels: labels.into_iter().flatten().collect(),
                annotations: Labels::new(),
                created: None,
            },
        }
    })
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        8 => entry().prop_map(|object| Object::ServiceEntry(Arc::new(object))),
        3 => service().prop_map(|object| Object::Service(Arc::new(object))),
        3 => sidecar().prop_map(|object| Object::Sidecar(Arc::new(object))),
        2 => workload_entry().prop_map(|object| Object::WorkloadEntry(Arc::new(object))),
        2 => pod().prop_map(|object| Object::Pod(Arc::new(object))),
        2 => slice().prop_map(|object| Object::EndpointSlice(Arc::new(object))),
        1 => mesh().prop_map(|object| Object::MeshConfig(Arc::new(object))),
        1 => namespace_object().prop_map(|object| Object::Namespace(Arc::new(object))),
    ]
}

fn workload() -> impl Strategy<Value = Update> {
    let enforcement = prop_oneof![
        8 => Just(None),
        1 => Just(Some(Enforcement::Off)),
        1 => Just(Some(Enforcement::Audit)),
        1 => Just(Some(Enforcement::Enforce)),
    ];
    let own = weighted(0.2, address());
    let asks_node = prop::bool::weighted(0.3);
    let has_proxy = prop::bool::weighted(0.3);
    (
        1..4_u64,
        namespace(),
        labels(),
        enforcement,
        (own, asks_node, has_proxy),
    )
        .prop_map(
            |(cgroup, namespace, labels, enforcement, (own, asks_node, has_proxy))| {
                let workload = Workload {
                    enforcement,
                    own: own.into_iter().collect(),
                    asks_node,
                    has_proxy,
                    ..Workload::new(namespace, &format!("w{cgroup}"), labels)
                };
                Update::Workload(CgroupId(cgroup), workload)
            },
        )
}

/// The same, of a workload without a proxy.
pub(crate) fn without_proxy(update: Update) -> Update {
    match update {
        Update::Workload(cgroup, workload) => {
            let workload = Workload {
                has_proxy: false,
                ..workload
            };
            Update::Workload(cgroup, workload)
        }
        other => other,
    }
}

/// Any change: things come, change, go and come again.
pub(crate) fn update() -> impl Strategy<Value = Update> {
    let name = one(NAMES).prop_map(Host::new);
    prop_oneof![
        8 => object().prop_map(Update::Apply),
        2 => object().prop_map(|object| Update::Delete(object.id())),
        3 => (name, addresses()).prop_map(|(host, addresses)| Update::Resolved { host, addresses }),
        2 => workload(),
        1 => (1..4_u64).prop_map(|cgroup| Update::WorkloadGone(CgroupId(cgroup))),
    ]
}

/// Changes that only bring things, workloads among them.
pub(crate) fn arrivals() -> impl Strategy<Value = Vec<Update>> {
    let name = one(NAMES).prop_map(Host::new);
    let resolved = (name, addresses()).prop_map(|(host, addresses)| Update::Resolved { host, addresses });
    let objects = vec(object().prop_map(Update::Apply), 1..8);
    (objects, vec(resolved, 0..4), vec(workload(), 1..3)).prop_map(|(objects, resolved, workloads)| {
        objects.into_iter().chain(resolved).chain(workloads).collect()
    })
}

/// Both matchings, every way with UDP.
pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let matching = select(&[Matching::Declared, Matching::Istio][..]);
    let udp = select(
        &[
            UdpPolicy::Registry,
            UdpPolicy::Registry,
            UdpPolicy::Allow,
            UdpPolicy::DnsOnly,
        ][..],
    );
    let resolvers = prop_oneof![2 => Just(BTreeSet::new()), 1 => address().prop_map(|one| [one].into())];
    let servers = || {
        let server = (address(), select(PORTS));
        weighted(0.2, server).prop_map(|one| one.map(SocketAddr::from).into_iter().collect())
    };
    let learns = prop::bool::weighted(0.9);
    let mode = prop_oneof![6 => Just(OutboundMode::RegistryOnly), 1 => Just(OutboundMode::AllowAny)];
    let revision = prop_oneof![2 => Just(""), 1 => Just("r1")];
    let allowances = weighted(0.2, (namespace(), address(), select(PORTS))).prop_map(|built_in| {
        let built_in = built_in.into_iter();
        let allowance = |(namespace, address, port)| Allowance {
            name: "built in",
            service: (namespace, "s".to_owned()),
            addresses: [address].into(),
            ports: vec![(Transport::Tcp, port), (Transport::Udp, 53)],
        };
        built_in.map(allowance).collect()
    });
    (
        matching,
        udp,
        resolvers,
        (servers(), servers(), learns),
        mode,
        revision,
        prop::bool::weighted(0.1),
        allowances,
    )
        .prop_map(
            |(matching, udp, resolvers, (trusted, of_node, learns), mode, revision, audit, allowances)| {
                Settings {
                    allowances,
                    mode,
                    audit,
                    matching,
                    udp,
                    resolvers,
                    trusted,
                    of_node,
                    learns,
                    revision: revision.to_owned(),
                    ..Settings::default()
                }
            },
        )
}
