//! What the registry shares, keeps and forgets.

mod conflicts;
mod proxies;

use super::*;
use crate::{
    explain::Why,
    istio::{
        Kind, MeshConfig, Meta, NamespaceObject, NodeObject, OutboundMode, Resolution, ServiceEntry,
        ServiceKind, VirtualService,
    },
    model::{Destination, Enforcement, Mode, Namespace, Protocol, Transport, Verdict},
    policy::Shared,
    settings::Matching,
    test_support::{
        allowed, cluster_ip, egress, entry, export, ip, pod, policy, resolved, rules, service, set, sidecar,
        slice, workload, world,
    },
};

fn public(id: &str, host: &str, address: &str) -> ServiceEntry {
    entry(id, host, &[(443, Protocol::Tls)]).addresses(&[address])
}

fn gone(kind: Kind, id: &str) -> Update {
    let (namespace, name) = id.split_once('/').unwrap();
    Update::Delete(ObjectId {
        kind,
        namespace: Namespace::new(namespace),
        name: name.to_owned(),
    })
}

fn texts(rules: &crate::rule::Rules) -> BTreeSet<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn hosts(registry: &mut Registry) -> Vec<String> {
    registry.hosts().iter().map(ToString::to_string).collect()
}

#[test]
fn selected_workload_with_no_rules_is_denied() {
    let mut registry = world(Settings::default(), [workload(1, "frontend", "")]);
    let policy = policy(&mut registry, 1);
    assert_eq!((policy.mode, policy.own.len()), (Mode::Enforce, 0));
    assert!(registry.desired().shared.is_empty());
}

#[test]
fn private_entry_is_allowed_to_its_namespace_alone() {
    let db = entry("frontend/db", "db.example.com", &[(5432, Protocol::Tcp)])
        .resolution(Resolution::Dns)
        .export(&["."]);
    let workloads = [workload(1, "frontend", ""), workload(2, "default", "")];
    let mut registry = world(Settings::default(), workloads.into_iter().chain([db.into()]));
    assert_eq!(hosts(&mut registry), ["db.example.com"]);
    registry.apply(resolved("db.example.com", &["192.0.2.1", "2001:db8::1"]));
    assert_eq!(
        allowed(&mut registry, 1),
        set(&[
            "tcp 192.0.2.1:5432",
            "tcp [2001:db8::1]:5432",
            "tcp db.example.com:5432"
        ])
    );
    assert_eq!(allowed(&mut registry, 2), set(&[]));
}

#[test]
fn policies_share_what_is_public_and_keep_what_is_their_own() {
    let mut registry = world(
        Settings::default(),
        [
            public("x/e", "e.example", "192.0.2.1").into(),
            public("x/f", "f.example", "192.0.2.2").into(),
            public("b/f", "f.example", "192.0.2.3").into(),
            public("b/g", "g.example", "192.0.2.4").export(&["."]).into(),
            workload(1, "a", ""),
            workload(2, "b", ""),
            workload(3, "c", ""),
        ],
    );
    let desired = registry.desired();
    assert_eq!(
        texts(&desired.shared[&Shared::Plain]),
        set(&["tcp 192.0.2.1:443"])
    );
    // Neither f.example has an age: in the namespaces a and c, the one of b wins by its name.
    let own = |cgroup, registry: &mut Registry| texts(&policy(registry, cgroup).own);
    assert_eq!(own(1, &mut registry), set(&["tcp 192.0.2.3:443"]));
    assert_eq!(
        own(2, &mut registry),
        set(&["tcp 192.0.2.3:443", "tcp 192.0.2.4:443"])
    );
    assert_eq!(desired.policies.len(), 2, "equal views share a policy");
}

#[test]
fn rule_of_a_private_entry_that_is_shared_already_is_not_own() {
    let mut registry = world(
        Settings::default(),
        [
            public("x/e", "e.example", "192.0.2.1").into(),
            public("a/e", "own.example", "192.0.2.1").export(&["."]).into(),
            workload(1, "a", ""),
        ],
    );
    assert!(policy(&mut registry, 1).own.is_empty());
    registry.apply(gone(Kind::ServiceEntry, "x/e"));
    assert_eq!(texts(&policy(&mut registry, 1).own), set(&["tcp 192.0.2.1:443"]));
    assert!(registry.desired().shared.is_empty());
}

#[test]
fn trimmed_view_has_all_its_rules_of_its_own() {
    let mut registry = world(
        Settings {
            resolvers: [ip("192.0.2.53")].into(),
            ..Settings::default()
        },
        [
            public("x/e", "e.example", "192.0.2.1").into(),
            public("y/f", "f.example", "192.0.2.2").into(),
            sidecar("a/default", vec![egress(&["x/*"])]).into(),
            workload(1, "a", ""),
        ],
    );
    let policy = policy(&mut registry, 1);
    assert_eq!(policy.shares, None);
    assert_eq!(
        texts(&policy.own),
        set(&["tcp 192.0.2.1:443", "tcp 192.0.2.53:53", "udp 192.0.2.53:53"])
    );
    assert!(registry.desired().shared.is_empty(), "nobody shares");
}

#[test]
fn resolvers_are_allowed_to_everybody() {
    let settings = Settings {
        resolvers: [ip("::ffff:192.0.2.53")].into(),
        ..Settings::default()
    };
    let mut registry = world(settings, [workload(1, "a", "")]);
    assert_eq!(
        allowed(&mut registry, 1),
        set(&["tcp 192.0.2.53:53", "udp 192.0.2.53:53"])
    );
}

#[test]
fn trusted_servers_are_allowed_to_everybody_on_their_ports() {
    let mut registry = world(Settings::default(), [workload(1, "a", "")]);
    registry.set_trusted(["[::ffff:192.0.2.53]:5353".parse().unwrap()].into());
    assert_eq!(
        allowed(&mut registry, 1),
        set(&["tcp 192.0.2.53:5353", "udp 192.0.2.53:5353"])
    );
    let asked = |port| Destination::new(Transport::Udp, ip("192.0.2.53"), port);
    assert_eq!(registry.explain(CgroupId(1), asked(5353)).why, Why::Resolver);
    assert_eq!(registry.explain(CgroupId(1), asked(53)).verdict, Verdict::Deny);
}

#[test]
fn resolvers_of_the_node_are_allowed_to_those_who_are_given_them_alone() {
    let given = |number, sidecar: &str| match workload(number, "a", sidecar) {
        Update::Workload(cgroup, workload) => {
            let asks_node = true;
            Update::Workload(
                cgroup,
                Workload {
                    asks_node,
                    ..workload
                },
            )
        }
        update => update,
    };
    let mut registry = world(Settings::default(), [given(1, ""), workload(2, "a", "")]);
    registry.set_of_node(["192.0.2.53:53".parse().unwrap()].into());
    let both = set(&["tcp 192.0.2.53:53", "udp 192.0.2.53:53"]);
    assert_eq!(allowed(&mut registry, 1), both);
    assert_eq!(allowed(&mut registry, 2), set(&[]));
    let asked = |port| Destination::new(Transport::Udp, ip("192.0.2.53"), port);
    let why = registry.explain(CgroupId(1), asked(53));
    assert_eq!(
        why.to_string(),
        "allowed by the configuration (built in: node DNS)"
    );
    assert_eq!(registry.explain(CgroupId(1), asked(5353)).verdict, Verdict::Deny);
    assert_eq!(registry.explain(CgroupId(2), asked(53)).verdict, Verdict::Deny);
    // A pod that was made anew, under the same cgroup, with another policy.
    registry.apply(workload(1, "a", ""));
    assert_eq!(allowed(&mut registry, 1), set(&[]));
    registry.apply(given(1, ""));
    registry.set_of_node(BTreeSet::new());
    assert_eq!(allowed(&mut registry, 1), set(&[]));
}

#[test]
fn cluster_resolver_answers_at_its_service_its_endpoints_and_the_cache_on_the_node() {
    let mut dns = service(
        "kube-system/kube-dns",
        cluster_ip(&["10.96.0.10"]),
        &[(53, Protocol::Udp), (9153, Protocol::Tcp)],
    );
    dns.ports[0].target = Some(5353);
    dns.ports[1].target = Some(9153);
    let registry = world(
        Settings::default(),
        [
            dns.into(),
            slice("kube-system/kube-dns-1", "kube-dns", &["10.244.0.2"]).into(),
            slice("kube-system/other-1", "other", &["10.244.0.3"]).into(),
        ],
    );
    let servers = registry.servers_of(&Allowance::cluster_dns([ip("169.254.20.10")].into()));
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        [
            "10.96.0.10:53",
            "10.244.0.2:53",
            "10.244.0.2:5353",
            "169.254.20.10:53"
        ]
    );
}

#[test]
fn networks_of_the_cluster_are_its_nodes_and_where_their_pods_are() {
    let node = |name: &str, pods: &str, address: &str| NodeObject {
        meta: Meta {
            name: name.to_owned(),
            ..crate::test_support::meta("/n")
        },
        pods: vec![pods.parse().unwrap()],
        addresses: vec![ip(address)],
    };
    let apply = |node: NodeObject| Update::Apply(Object::Node(Arc::new(node)));
    let mut registry = Registry::new(Settings::default());
    registry.apply(apply(node("a", "10.244.0.0/24", "192.0.2.1")));
    registry.apply(apply(node("b", "10.244.1.0/24", "2001:db8::1")));
    registry.apply(apply(node("b", "10.244.2.0/24", "2001:db8::1")));
    let texts = |registry: &mut Registry| -> Vec<String> {
        let networks = registry.cluster_networks();
        networks.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        texts(&mut registry),
        [
            "10.244.0.0/24",
            "10.244.2.0/24",
            "192.0.2.1/32",
            "2001:db8::1/128"
        ]
    );
    registry.apply(Update::Delete(ObjectId {
        kind: Kind::Node,
        namespace: Namespace::new(""),
        name: "b".to_owned(),
    }));
    assert_eq!(texts(&mut registry), ["10.244.0.0/24", "192.0.2.1/32"]);
}

#[test]
fn nothing_names_a_host_where_nothing_is_learned() {
    let settings = Settings {
        learns: false,
        ..Settings::default()
    };
    let object = entry("a/e", "e.example", &[(443, Protocol::Tls)]);
    let mut registry = world(settings, [object.into(), workload(1, "a", "")]);
    registry.apply(resolved("e.example", &["192.0.2.1"]));
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 192.0.2.1:443"]));
    assert_eq!((registry.hosts().len(), registry.patterns().len()), (1, 0));
}

#[test]
fn given_address_is_allowed_where_a_rule_names_its_host() {
    let object = entry("a/e", "*.example", &[(443, Protocol::Tls)]);
    let hidden = entry("b/e", "*.sub.example", &[(443, Protocol::Tls)]).export(&["."]);
    let updates = [object.into(), hidden.into(), workload(1, "a", "")];
    let mut registry = world(Settings::default(), updates);
    let to = |port| Destination::new(Transport::Tcp, ip("192.0.2.1"), port);
    let given = |host: &str| BTreeSet::from([pattern::id(&Host::new(host))]);
    let mut explain = |port, host| {
        let explanation = registry.explain_given(CgroupId(1), to(port), &given(host));
        explanation.to_string()
    };
    assert_eq!(
        explain(443, "*.example"),
        "allowed by ServiceEntry a/e port tls-443 (DNS answer for *.example)"
    );
    assert_eq!(
        explain(80, "*.example"),
        "denied: host known, port 80 not declared, nearest 443 (ServiceEntry a/e, *.example)"
    );
    assert_eq!(
        explain(443, "*.sub.example"),
        "denied: ServiceEntry b/e is not exported to a"
    );
}

#[test]
fn label_of_a_namespace_sets_the_mode_of_its_workloads_and_of_no_others() {
    let namespace = |mode: &str| {
        let meta = Meta {
            namespace: Namespace::new(""),
            name: "a".to_owned(),
            labels: [(Enforcement::LABEL.to_owned(), mode.to_owned())].into(),
            ..entry("a/e", "e.example", &[]).meta
        };
        Update::Apply(Object::Namespace(Arc::new(NamespaceObject { meta })))
    };
    let mut strict = workload(2, "a", "");
    if let Update::Workload(_, workload) = &mut strict {
        workload.enforcement = Some(Enforcement::Enforce);
    }
    let workloads = [workload(1, "a", ""), strict, workload(3, "b", "")];
    let audit = Settings {
        audit: true,
        ..Settings::default()
    };
    let mut registry = world(audit, workloads);
    for (mode, expected) in [
        ("audit", Mode::Audit),
        ("off", Mode::Off),
        // A mistake weakens nothing, and is told.
        ("enforcr", Mode::Enforce),
        ("enforce", Mode::Enforce),
    ] {
        registry.apply(namespace(mode));
        let warnings: Vec<_> = registry.warnings().iter().map(ToString::to_string).collect();
        let mistake = "the label enforcer.dev/mode of Namespace a is \"enforcr\", which is no mode and counts as enforce: \
                       modes are enforce, audit and off";
        assert_eq!(
            warnings.contains(&mistake.to_owned()),
            mode == "enforcr",
            "{warnings:?}"
        );
        let mut mode_of = |cgroup| policy(&mut registry, cgroup).mode;
        assert_eq!(
            (mode_of(1), mode_of(2), mode_of(3)),
            (expected, Mode::Enforce, Mode::Audit)
        );
    }
}

#[test]
fn policies_differ_by_mode() {
    let mut registry = world(
        Settings::default(),
        [
            sidecar("b/default", vec![]).mode(OutboundMode::AllowAny).into(),
            workload(1, "a", ""),
            workload(2, "b", ""),
            workload(3, "c", ""),
        ],
    );
    let desired = registry.desired();
    let modes: Vec<_> = desired
        .policies
        .iter()
        .map(|policy| (policy.mode, policy.workloads.len()))
        .collect();
    assert_eq!(modes, [(Mode::Enforce, 2), (Mode::Observe, 1)]);
}

#[test]
fn hosts_are_those_that_a_present_workload_needs() {
    let dns = |id, host| entry(id, host, &[(443, Protocol::Tls)]).resolution(Resolution::Dns);
    let mut registry = world(
        Settings::default(),
        [
            dns("a/e", "private.a.example").export(&["."]).into(),
            dns("b/e", "private.b.example").export(&["."]).into(),
            dns("b/f", "public.b.example")
                .endpoints(&["ep.example", "192.0.2.1"])
                .into(),
            entry("b/w", "*.wild.example", &[(443, Protocol::Tls)]).into(),
            entry("b/n", "none.example", &[(443, Protocol::Tls)]).into(),
            entry("b/t", "port-only.example", &[(443, Protocol::Tcp)]).into(),
            public("b/i", "addressed.example", "192.0.2.7").into(),
            service("b/s", cluster_ip(&["10.96.0.1"]), &[(443, Protocol::Tls)]).into(),
        ],
    );
    assert!(hosts(&mut registry).is_empty());
    registry.apply(workload(1, "a", ""));
    let public = [
        "ep.example",
        "none.example",
        "private.a.example",
        "public.b.example",
    ];
    assert_eq!(hosts(&mut registry), public);
    registry.apply(sidecar("a/default", vec![egress(&["./*"])]).into());
    assert_eq!(hosts(&mut registry), ["private.a.example"]);
    registry.apply(Update::WorkloadGone(CgroupId(1)));
    assert!(hosts(&mut registry).is_empty());
}

#[test]
fn matching_istio_resolves_the_same_hosts() {
    let settings = Settings {
        matching: Matching::Istio,
        ..Settings::default()
    };
    let object = entry("a/e", "h.example", &[(443, Protocol::Tls)]).resolution(Resolution::Dns);
    let mut registry = world(settings, [object.into(), workload(1, "a", "")]);
    assert_eq!(hosts(&mut registry), ["h.example"]);
}

#[test]
fn change_that_means_nothing_returns_the_same_value() {
    let object = || public("x/e", "e.example", "192.0.2.1");
    let mut registry = world(Settings::default(), [object().into(), workload(1, "a", "")]);
    let before = registry.desired();
    for update in [
        object().into(),
        object().label("team", "x").into(),
        object().created(7).into(),
        public("x/hidden", "z.example", "192.0.2.9").export(&["~"]).into(),
        pod("a/p", &["10.0.0.1"], "app=web").into(),
        resolved("nobody-asked.example", &["192.0.2.8"]),
        MeshConfig::default().into(),
    ] {
        registry.apply(update.clone());
        assert!(Arc::ptr_eq(&before, &registry.desired()), "{update:?}");
    }
}

#[test]
fn view_that_does_not_change_keeps_its_rules() {
    let mut registry = world(
        Settings::default(),
        [
            public("x/e", "e.example", "192.0.2.1").into(),
            public("a/e", "own.a.example", "192.0.2.2").export(&["."]).into(),
            public("b/e", "own.b.example", "192.0.2.3").export(&["."]).into(),
            workload(1, "a", ""),
            workload(2, "b", ""),
        ],
    );
    let shared = |registry: &mut Registry| registry.desired().shared[&Shared::Plain].clone();
    let before = (shared(&mut registry), policy(&mut registry, 1).own);
    registry.apply(public("b/e", "own.b.example", "192.0.2.4").export(&["."]).into());
    assert_eq!(texts(&policy(&mut registry, 2).own), set(&["tcp 192.0.2.4:443"]));
    assert!(Arc::ptr_eq(&before.0, &shared(&mut registry)));
    assert!(Arc::ptr_eq(&before.1, &policy(&mut registry, 1).own));
    registry.apply(public("x/f", "f.example", "192.0.2.5").into());
    assert!(!Arc::ptr_eq(&before.0, &shared(&mut registry)));
    assert!(Arc::ptr_eq(&before.1, &policy(&mut registry, 1).own));
}

#[test]
fn selected_pod_that_comes_and_goes_changes_the_rules() {
    let object = entry("a/e", "h.example", &[(80, Protocol::Tcp)]).selector("app=db");
    let mut registry = world(Settings::default(), [object.into(), workload(1, "a", "")]);
    assert_eq!(allowed(&mut registry, 1), set(&[]));
    registry.apply(pod("a/p", &["10.0.0.1"], "app=db").into());
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 10.0.0.1:80"]));
    registry.apply(pod("a/p", &["10.0.0.1"], "app=other").into());
    assert_eq!(allowed(&mut registry, 1), set(&[]));
    registry.apply(pod("a/p", &["10.0.0.2"], "app=db").into());
    registry.apply(gone(Kind::Pod, "a/p"));
    assert_eq!(allowed(&mut registry, 1), set(&[]));
}

#[test]
fn endpoints_that_come_and_go_change_a_headless_service() {
    let headless = service("a/s", ServiceKind::Headless, &[(80, Protocol::Tcp)]);
    let mut registry = world(
        Settings::default(),
        [
            slice("a/s-1", "s", &["10.0.0.1"]).into(),
            headless.into(),
            workload(1, "a", ""),
        ],
    );
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 10.0.0.1:80"]));
    registry.apply(slice("a/s-1", "s", &["10.0.0.2"]).into());
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 10.0.0.2:80"]));
    registry.apply(slice("a/s-1", "t", &["10.0.0.2"]).into());
    assert_eq!(allowed(&mut registry, 1), set(&[]));
    registry.apply(slice("a/s-2", "s", &["10.0.0.3"]).into());
    registry.apply(gone(Kind::EndpointSlice, "a/s-2"));
    assert_eq!(allowed(&mut registry, 1), set(&[]));
}

#[test]
fn endpoint_name_under_a_replaced_protocol_follows_its_resolution() {
    let object = public("b/e", "e.example", "192.0.2.1")
        .resolution(Resolution::Dns)
        .endpoints(&["ep.example"]);
    let as_http = sidecar("a/default", vec![egress(&["*/*"]).on(443, Protocol::Http)]);
    let mut registry = world(
        Settings::default(),
        [object.into(), as_http.into(), workload(1, "a", "")],
    );
    assert_eq!(hosts(&mut registry), ["e.example", "ep.example"]);
    registry.apply(resolved("ep.example", &["192.0.2.2"]));
    assert_eq!(
        allowed(&mut registry, 1),
        set(&[
            "tcp 192.0.2.1:443",
            "tcp 192.0.2.2:443",
            "tcp e.example:443",
            "tcp ep.example:443"
        ])
    );
}

#[test]
fn wildcard_follows_the_names_under_it() {
    let object = entry("a/e", "*.example", &[(443, Protocol::Tls)]);
    let mut registry = world(Settings::default(), [object.into(), workload(1, "a", "")]);
    let given = "tcp *.example:443";
    assert_eq!(allowed(&mut registry, 1), set(&[given]));
    assert_eq!(registry.hosts().len(), 0, "nobody can ask for a wildcard");
    registry.apply(resolved("a.b.example", &["192.0.2.1"]));
    registry.apply(resolved("example", &["192.0.2.2"]));
    registry.apply(resolved("a.other", &["192.0.2.3"]));
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 192.0.2.1:443", given]));
    registry.apply(resolved("a.b.example", &[]));
    assert_eq!(allowed(&mut registry, 1), set(&[given]));
}

#[test]
fn names_and_addresses_are_found_both_ways() {
    let mut registry = world(
        Settings::default(),
        [
            public("a/e", "e.example", "192.0.2.1").into(),
            public("a/n", "n.example", "198.51.100.0/24").into(),
            entry("a/d", "d.example", &[(443, Protocol::Tls)])
                .resolution(Resolution::Dns)
                .into(),
            resolved("d.example", &["192.0.2.1", "2001:db8::1"]),
        ],
    );
    let names = |registry: &mut Registry, address| -> Vec<String> {
        registry
            .names_of(ip(address))
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(names(&mut registry, "192.0.2.1"), ["d.example", "e.example"]);
    assert_eq!(
        names(&mut registry, "::ffff:192.0.2.1"),
        ["d.example", "e.example"]
    );
    assert_eq!(names(&mut registry, "198.51.100.9"), ["n.example"]);
    assert_eq!(names(&mut registry, "192.0.2.77"), [""; 0]);
    assert_eq!(
        registry.addresses_of(&Host::new("d.example")),
        [ip("192.0.2.1"), ip("2001:db8::1")].into()
    );
    assert_eq!(
        registry.addresses_of(&Host::new("e.example")),
        [ip("192.0.2.1")].into()
    );
}

#[test]
fn mesh_of_the_own_revision_counts_before_others() {
    let mesh = |name: &str, to: &[&str]| MeshConfig {
        meta: crate::istio::Meta {
            name: name.to_owned(),
            ..MeshConfig::default().meta
        },
        default_export_to: export(to),
        ..MeshConfig::default()
    };
    let sees = |revision: &str| {
        let settings = Settings {
            revision: revision.to_owned(),
            ..Settings::default()
        };
        let updates = [
            mesh("istio", &["*"]).into(),
            mesh("istio-canary", &["."]).into(),
            public("b/e", "e.example", "192.0.2.1").into(),
            workload(1, "a", ""),
        ];
        let mut registry = world(settings, updates);
        assert_eq!(registry.warnings().len(), 1);
        !rules(&mut registry, 1).is_empty()
    };
    assert!(sees(""));
    assert!(sees("other"));
    assert!(!sees("canary"));
}

#[test]
fn warnings_name_the_entries() {
    let mut registry = world(
        Settings::default(),
        [
            entry("a/open", "open.example", &[(5432, Protocol::Tcp)]).into(),
            entry("a/auto", "auto.example", &[(9000, Protocol::Auto)]).into(),
            entry("a/sni", "sni.example", &[(443, Protocol::Tls)]).into(),
            entry("a/picked", "picked.example", &[(1, Protocol::Tcp)])
                .selector("app=db")
                .into(),
            entry("a/empty", "empty.example", &[]).into(),
            public("a/e", "e.example", "192.0.2.1").created(1).into(),
            public("b/e", "e.example", "192.0.2.2").created(2).into(),
            public("c/e", "e.example", "192.0.2.2").export(&["."]).into(),
        ],
    );
    let warnings: Vec<_> = registry.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "ServiceEntry a/auto allows port 9000 of every address: give it addresses, or a resolution other than NONE",
            "ServiceEntry a/open allows port 5432 of every address: give it addresses, or a resolution other than NONE",
            "ServiceEntry a/empty has no ports and allows nothing",
            "ServiceEntry b/e does not count outside its namespace: ServiceEntry a/e has the host e.example",
            "ServiceEntry a/picked allows nothing: its workloadSelector selects no Pod and no WorkloadEntry",
        ]
    );
}

/// What the registry of these objects warns of, by the text.
fn warnings(settings: Settings, updates: impl IntoIterator<Item = Update>) -> Vec<String> {
    let mut registry = world(settings, updates);
    registry.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn what_allows_nothing_says_why() {
    let settings = || Settings {
        learns: false,
        udp: UdpPolicy::DnsOnly,
        ..Settings::default()
    };
    let dns = |id, host, ports: &[_]| entry(id, host, ports).resolution(Resolution::Dns);
    let alias = ServiceKind::ExternalName(Host::new("x.example"));
    for (object, warning) in [
        (
            entry("a/e", "*.example", &[(443, Protocol::Tls)]).into(),
            "ServiceEntry a/e allows nothing: names under a wildcard are known only from the answers that workloads \
             receive, and dns.learn is off",
        ),
        (
            dns("a/e", "e.example", &[(443, Protocol::Tls)]).into(),
            "ServiceEntry a/e allows nothing: no address of its host is known",
        ),
        (
            entry("a/e", "e.example", &[(53, Protocol::Udp)])
                .addresses(&["192.0.2.1"])
                .into(),
            "ServiceEntry a/e allows nothing: its port is for UDP, which the configuration refuses (udp: dns-only)",
        ),
        (
            entry("a/e", "e.example", &[(15021, Protocol::Http)])
                .addresses(&["192.0.2.1"])
                .into(),
            "ServiceEntry a/e allows nothing: its port is for HTTP, and Istio's proxy keeps it to itself",
        ),
        (
            entry("a/e", "e.example", &[(80, Protocol::Http)])
                .resolution(Resolution::Static)
                .endpoints(&["unix:///run/s"])
                .into(),
            "ServiceEntry a/e allows nothing: all of its endpoints are Unix sockets",
        ),
        (
            dns("a/e", "e.example", &[(80, Protocol::Http)])
                .export(&["~"])
                .into(),
            "ServiceEntry a/e is exported to no namespace and allows nothing: see exportTo",
        ),
        (
            service("a/s", alias, &[]).into(),
            "Service a/s allows nothing: it is an alias, and its target x.example is not registered",
        ),
        (
            service("a/s", cluster_ip(&[]), &[(80, Protocol::Http)]).into(),
            "Service a/s allows nothing: it has no cluster address",
        ),
    ] as [(Update, &str); 8]
    {
        assert_eq!(warnings(settings(), [object]), [warning]);
    }
}

#[test]
fn host_without_a_rule_is_named_where_others_have_one() {
    let settings = Settings {
        learns: false,
        ..Settings::default()
    };
    let object = entry("a/e", "*.example", &[(443, Protocol::Tls)]).host("e.example");
    assert_eq!(
        warnings(
            settings,
            [
                object.into(),
                resolved("e.example.com", &["192.0.2.1"]),
                resolved("e.example", &[])
            ]
        ),
        [
            "ServiceEntry a/e allows nothing for *.example: names under a wildcard are known only from the answers that \
             workloads receive, and dns.learn is off",
            "ServiceEntry a/e allows nothing for e.example: no address of its host is known",
        ]
    );
}

#[test]
fn entry_beside_a_service_of_its_host_counts_nowhere() {
    let host = "s.a.svc.cluster.local";
    let own = service("a/s", cluster_ip(&["10.0.0.1"]), &[(80, Protocol::Http)]);
    let beside = entry("a/e", host, &[(81, Protocol::Tcp)]).addresses(&["192.0.2.1"]);
    assert_eq!(
        warnings(Settings::default(), [own.into(), beside.into()]),
        ["ServiceEntry a/e allows nothing: wherever it is seen, Service a/s has the host"]
    );
}

#[test]
fn address_at_which_no_endpoint_is_needs_a_proxy() {
    let vip = |resolution, address| {
        entry("a/e", "e.example", &[(80, Protocol::Tcp)])
            .resolution(resolution)
            .addresses(&[address])
    };
    let unreachable = |address| {
        format!(
            "ServiceEntry a/e declares the address {address}, at which its service is not known to be: connections to it \
             are allowed, but nothing answers there unless a proxy translates it"
        )
    };
    let of = |object: ServiceEntry| {
        warnings(
            Settings::default(),
            [object.into(), resolved("e.example", &["192.0.2.7"])],
        )
    };
    let fixed = |address| vip(Resolution::Static, address).endpoints(&["192.0.2.1"]);
    assert_eq!(of(fixed("192.0.2.9")), [unreachable("192.0.2.9")]);
    assert_eq!(of(fixed("192.0.2.1")), [""; 0]);
    assert_eq!(of(vip(Resolution::Dns, "192.0.2.9")), [unreachable("192.0.2.9")]);
    assert_eq!(of(vip(Resolution::Dns, "192.0.2.7")), [""; 0]);
    assert_eq!(of(vip(Resolution::None, "192.0.2.9")), [""; 0]);
    assert_eq!(
        of(vip(Resolution::None, "240.240.0.5")),
        [unreachable("240.240.0.5")]
    );
}

#[test]
fn import_of_what_nobody_has_names_the_host_and_one_of_everything_is_ordinary() {
    let hidden = entry("b/e", "e.example", &[(80, Protocol::Tcp)])
        .addresses(&["192.0.2.1"])
        .export(&["."]);
    let hosts = [
        "*/*",
        "./*",
        "istio-system/*",
        "b/e.example",
        "c/*",
        "./a.example",
        "~/none.example",
    ];
    let object = sidecar("a/default", vec![egress(&hosts)]);
    let nothing =
        |host| format!("Sidecar a/default imports {host}, which nobody has: nothing is allowed by it");
    assert_eq!(
        warnings(Settings::default(), [hidden.into(), object.clone().into()]),
        [nothing("./a.example"), nothing("b/e.example"), nothing("c/*")]
    );
    let seen = |id, host, address| {
        entry(id, host, &[(80, Protocol::Tcp)])
            .addresses(&[address])
            .into()
    };
    let all = [
        seen("b/e", "e.example", "192.0.2.1"),
        seen("c/c", "c.example", "192.0.2.2"),
        seen("a/a", "a.example", "192.0.2.3"),
        object.into(),
    ];
    assert_eq!(warnings(Settings::default(), all), [""; 0]);
}

#[test]
fn status_of_a_node_changes_nothing() {
    let node = |label: &str, address: &str| {
        let mut meta = crate::test_support::meta("/node");
        meta.labels.insert("beat".to_owned(), label.to_owned());
        let node = NodeObject {
            meta,
            pods: Vec::new(),
            addresses: vec![ip(address)],
        };
        Update::Apply(Object::Node(Arc::new(node)))
    };
    let mut registry = Registry::new(Settings::default());
    registry.apply(node("1", "192.0.2.1"));
    let before = registry.cluster_networks();
    let beat = node("2", "192.0.2.1");
    assert!(!registry.is_news(&beat), "no plan follows");
    registry.apply(beat);
    assert!(!registry.stale.cluster);
    assert!(Arc::ptr_eq(&before, &registry.cluster_networks()));
    let moved = node("2", "192.0.2.2");
    assert!(registry.is_news(&moved));
    registry.apply(moved);
    assert_ne!(before, registry.cluster_networks());
    assert!(registry.is_news(&gone(Kind::Node, "/node")), "and its end is one");
}

/// Where a host may lead.
fn protecting() -> Settings {
    Settings {
        protected: ["169.254.0.0/16", "fd00:ec2::254/128"]
            .map(|text| text.parse().unwrap())
            .into(),
        protects_cluster: true,
        ..Settings::default()
    }
}

#[test]
fn resolved_address_that_is_protected_counts_only_if_it_is_declared() {
    let of = |id: &str, host: &str| entry(id, host, &[(443, Protocol::Tls)]).resolution(Resolution::Dns);
    let mut registry = world(
        protecting(),
        [
            of("a/evil", "evil.example.com").into(),
            of("a/declared", "declared.example.com")
                .addresses(&["169.254.1.1"])
                .into(),
            workload(1, "a", ""),
        ],
    );
    registry.apply(resolved(
        "evil.example.com",
        &["169.254.169.254", "fd00:ec2::254", "192.0.2.1"],
    ));
    registry.apply(resolved("declared.example.com", &["169.254.1.1"]));
    assert_eq!(
        allowed(&mut registry, 1),
        set(&[
            "tcp 192.0.2.1:443",
            "tcp 169.254.1.1:443",
            "tcp evil.example.com:443",
        ])
    );
    let said = |registry: &mut Registry| -> Vec<String> {
        let warnings = registry.warnings();
        let said = warnings
            .iter()
            .filter(|it| matches!(it, Warning::Protected { .. }));
        said.map(ToString::to_string).collect()
    };
    let [first, second] = &said(&mut registry)[..] else {
        panic!("{:?}", said(&mut registry));
    };
    let begin =
        |address: &str| format!("evil.example.com resolves to {address}, an address for which no name may");
    assert!(first.starts_with(&begin("169.254.169.254")), "{first}");
    assert!(second.starts_with(&begin("fd00:ec2::254")), "{second}");
    registry.apply(resolved("evil.example.com", &["192.0.2.1"]));
    registry.apply(resolved("declared.example.com", &[]));
    assert_eq!(said(&mut registry), [""; 0]);
}

#[test]
fn name_outside_the_cluster_does_not_lead_into_it_and_one_of_the_cluster_does() {
    let of = |id: &str, host: &str| entry(id, host, &[(443, Protocol::Tls)]).resolution(Resolution::Dns);
    let mut registry = world(
        protecting(),
        [
            of("a/outside", "db.example.com").into(),
            of("a/inside", "db.b.svc.cluster.local").into(),
            workload(1, "a", ""),
        ],
    );
    registry.apply(resolved("db.example.com", &["10.96.0.7", "192.0.2.1"]));
    registry.apply(resolved("db.b.svc.cluster.local", &["10.96.0.7"]));
    let hosts = ["tcp db.example.com:443", "tcp db.b.svc.cluster.local:443"];
    let with = |addresses: &[&str]| set(&[&hosts[..], addresses].concat());
    let both = with(&["tcp 10.96.0.7:443", "tcp 192.0.2.1:443"]);
    assert_eq!(
        allowed(&mut registry, 1),
        both,
        "nobody knows that it is the cluster's"
    );
    let other = service("b/other", cluster_ip(&["10.96.0.7"]), &[(1, Protocol::Tcp)]);
    registry.apply(other.into());
    let both = &both | &set(&["tcp 10.96.0.7:1"]);
    assert_eq!(
        allowed(&mut registry, 1),
        both,
        "the cluster's own name leads there"
    );
    assert_eq!(
        registry.addresses_of(&Host::new("db.example.com")),
        [ip("192.0.2.1")].into()
    );
    registry.apply(gone(Kind::Service, "b/other"));
    let addresses = registry.addresses_of(&Host::new("db.example.com"));
    assert_eq!(
        addresses,
        [ip("192.0.2.1"), ip("10.96.0.7")].into(),
        "it is the cluster's no more"
    );
}

#[test]
fn virtual_service_that_reroutes_is_told_and_allows_nothing() {
    let virtual_service = |hosts: &[&str], to: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Update::Apply(Object::VirtualService(Arc::new(VirtualService {
            meta: crate::test_support::meta("a/v"),
            hosts: texts(hosts),
            is_in_mesh: true,
            destinations: texts(to),
        })))
    };
    let registered = || {
        [
            entry("a/e", "e.example", &[(80, Protocol::Http)])
                .addresses(&["192.0.2.1"])
                .into(),
            service("a/s", cluster_ip(&["10.0.0.1"]), &[(80, Protocol::Http)]).into(),
            workload(1, "a", ""),
        ]
    };
    let of = |hosts: &[&str], to: &[&str]| {
        let mut registry = world(Settings::default(), registered());
        let before = registry.desired();
        registry.apply(virtual_service(hosts, to));
        assert_eq!(before, registry.desired());
        registry
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let gateway = "istio-egressgateway.istio-system.svc.cluster.local";
    assert_eq!(
        of(&["e.example"], &["e.example", gateway]),
        [format!(
            "VirtualService a/v sends what is for e.example of ServiceEntry a/e to {gateway}: without a proxy, which alone \
             follows it, e.example is dialled directly, and that is what ServiceEntry a/e allows"
        )]
    );
    assert_eq!(
        of(&["none.example"], &["s"]),
        [
            "VirtualService a/v routes none.example, which no Service and no ServiceEntry has, to s.a.svc.cluster.local: a \
          connection to none.example is refused; register it, or dial the host to which it is routed"
        ]
    );
    assert_eq!(of(&["e.example"], &["e.example"]), [""; 0]);
    assert_eq!(
        of(&["s"], &["other"]),
        [""; 0],
        "routes between Services are ordinary"
    );
    assert_eq!(of(&["*.example"], &["s"]).len(), 1);
}

#[test]
fn sidecar_that_narrows_what_gateways_see_is_told() {
    let gateway = |cgroup: u64| {
        let mut workload = Workload::new(Namespace::new("edge"), "gw", crate::model::Labels::new());
        workload.is_gateway = true;
        Update::Workload(CgroupId(cgroup), workload)
    };
    let narrow = || sidecar("istio-system/default", vec![egress(&["./*"])]);
    let told = warnings(
        Settings::default(),
        [narrow().into(), gateway(1), gateway(2), workload(3, "a", "")],
    );
    assert_eq!(
        told,
        [
            "Sidecar istio-system/default applies to the gateways in edge here, and not in Istio: what it leaves out is \
             refused to them; a Sidecar of edge with the egress host */* mends that"
        ]
    );
    let open = sidecar("edge/gateways", vec![egress(&["*/*"])]);
    let told = warnings(Settings::default(), [narrow().into(), open.into(), gateway(1)]);
    assert_eq!(told, [""; 0]);
}

#[test]
fn object_that_lets_workloads_reach_everything_is_told() {
    let mesh = MeshConfig {
        mode: Some(OutboundMode::AllowAny),
        ..MeshConfig::default()
    };
    let of = |object: &str| {
        format!(
            "{object} sets ALLOW_ANY, which goes before the enforcer's configuration: the workloads to which it applies \
             reach everything"
        )
    };
    let told = |updates: Vec<Update>| warnings(Settings::default(), updates);
    assert_eq!(told(vec![mesh.clone().into()]), [""; 0], "it applies to nobody");
    let updates = vec![mesh.into(), workload(1, "a", "")];
    assert_eq!(told(updates), [of("MeshConfig istio-system/istio")]);
    let mut open = sidecar("a/open", vec![egress(&["*/*"])]);
    open.mode = Some(OutboundMode::AllowAny);
    assert_eq!(
        told(vec![open.into(), workload(1, "a", "")]),
        [of("Sidecar a/open")]
    );
}
