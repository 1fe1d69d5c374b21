//! exportTo, Sidecars, conflicts and modes: who sees what.

use crate::{
    istio::{
        Bind, EgressListener, LabelExpression, LabelOperator, LabelSelector, MeshConfig, OutboundMode,
        Resolution, ServiceEntry, ServiceEntryVisibility, Sidecar, Visibility,
    },
    model::{Mode, Namespace, Protocol},
    registry::Update,
    settings::Settings,
    test_support::{
        allowed, cluster_ip, egress, entry, export, ip, labels, namespace, policy, service, set, sidecar,
        workload, world,
    },
};

/// A TCP entry at one address: what it allows shows who sees it.
fn at(id: &str, host: &str, address: &str) -> ServiceEntry {
    entry(id, host, &[(80, Protocol::Tcp)]).addresses(&[address])
}

/// The namespaces among a, b and c that reach 192.0.2.1.
fn seen_by(updates: Vec<Update>, settings: Settings) -> Vec<&'static str> {
    let workloads = [workload(1, "a", ""), workload(2, "b", ""), workload(3, "c", "")];
    let mut registry = world(settings, updates.into_iter().chain(workloads));
    let mut sees = |cgroup| allowed(&mut registry, cgroup).contains("tcp 192.0.2.1:80");
    [(1, "a"), (2, "b"), (3, "c")]
        .into_iter()
        .filter_map(|(cgroup, name)| sees(cgroup).then_some(name))
        .collect()
}

#[test]
fn export_to_says_who_sees_an_entry() {
    for (to, expected) in [
        (&[] as &[&str], vec!["a", "b", "c"]),
        (&["*"], vec!["a", "b", "c"]),
        (&["."], vec!["a"]),
        (&["a"], vec!["a"]),
        (&["b"], vec!["b"]),
        (&[".", "b"], vec!["a", "b"]),
        (&["b", "c"], vec!["b", "c"]),
        (&["~"], vec![]),
        (&["~", "b"], vec![]),
        (&["*", "~"], vec!["a", "b", "c"]),
        (&["nowhere"], vec![]),
    ] {
        let object = at("a/e", "h.example", "192.0.2.1").export(to);
        assert_eq!(
            seen_by(vec![object.into()], Settings::default()),
            expected,
            "{to:?}"
        );
        let mut object = service("a/s", cluster_ip(&["192.0.2.1"]), &[(80, Protocol::Tcp)]);
        object.export_to = export(to);
        assert_eq!(
            seen_by(vec![object.into()], Settings::default()),
            expected,
            "{to:?}"
        );
    }
}

#[test]
fn mesh_says_what_an_absent_export_to_means() {
    for (default, expected) in [
        (&["."] as &[&str], vec!["a"]),
        (&["~"], vec![]),
        (&["b"], vec!["b"]),
        (&["*"], vec!["a", "b", "c"]),
    ] {
        let mesh = MeshConfig {
            default_export_to: export(default),
            ..MeshConfig::default()
        };
        let object = at("a/e", "h.example", "192.0.2.1");
        let updates = vec![object.into(), mesh.clone().into()];
        assert_eq!(seen_by(updates, Settings::default()), expected, "{default:?}");
        let object = at("a/e", "h.example", "192.0.2.1").export(&["c"]);
        assert_eq!(
            seen_by(vec![object.into(), mesh.into()], Settings::default()),
            ["c"]
        );
    }
}

fn visible(policies: Vec<(LabelSelector, Visibility)>, apply_to_sidecars: bool) -> MeshConfig {
    MeshConfig {
        visibility: Some(ServiceEntryVisibility {
            policies,
            apply_to_sidecars,
        }),
        ..MeshConfig::default()
    }
}

fn selector(text: &str) -> LabelSelector {
    LabelSelector {
        labels: labels(text),
        expressions: Vec::new(),
    }
}

#[test]
fn visibility_narrows_and_never_widens() {
    let seen = |bound, to: &[&str]| {
        let object = at("a/e", "h.example", "192.0.2.1").export(to);
        let mesh = visible(vec![(selector("team=x"), bound)], true);
        let updates = vec![object.into(), namespace("a", "team=x").into(), mesh.into()];
        seen_by(updates, Settings::default())
    };
    assert_eq!(seen(Visibility::None, &["*"]), [""; 0]);
    assert_eq!(seen(Visibility::Namespace, &["*"]), ["a"]);
    assert_eq!(seen(Visibility::Namespace, &[".", "b"]), ["a"]);
    assert_eq!(seen(Visibility::Namespace, &["b"]), [""; 0]);
    assert_eq!(seen(Visibility::Public, &["."]), ["a"]);
}

#[test]
fn first_policy_that_fits_bounds_the_visibility_of_entries_alone() {
    let policies = || {
        vec![
            (selector("team=y"), Visibility::None),
            (selector("kubernetes.io/metadata.name=a"), Visibility::Namespace),
            (LabelSelector::default(), Visibility::None),
        ]
    };
    let object = || at("a/e", "h.example", "192.0.2.1");
    let seen = |object: Update, is_applied| {
        seen_by(
            vec![object, visible(policies(), is_applied).into()],
            Settings::default(),
        )
    };
    assert_eq!(seen(object().into(), true), ["a"]);
    assert_eq!(seen(object().into(), false), ["a", "b", "c"]);
    let service = service("a/s", cluster_ip(&["192.0.2.1"]), &[(80, Protocol::Tcp)]);
    assert_eq!(seen(service.into(), true), ["a", "b", "c"]);
}

#[test]
fn objects_outside_the_discovery_selectors_are_ignored() {
    let expression = |operator| LabelSelector {
        labels: labels(""),
        expressions: vec![LabelExpression {
            key: "tier".to_owned(),
            operator,
        }],
    };
    let values = || vec!["gold".to_owned()];
    for (selector, is_seen) in [
        (selector("tier=gold"), true),
        (selector("tier=lead"), false),
        (expression(LabelOperator::In(values())), true),
        (expression(LabelOperator::NotIn(values())), false),
        (expression(LabelOperator::Exists), true),
        (expression(LabelOperator::DoesNotExist), false),
    ] {
        let mesh = MeshConfig {
            discovery_selectors: vec![selector.clone()],
            ..MeshConfig::default()
        };
        for object in [
            at("a/e", "h.example", "192.0.2.1").into(),
            service("a/s", cluster_ip(&["192.0.2.1"]), &[(80, Protocol::Tcp)]).into(),
        ] {
            let updates = vec![object, namespace("a", "tier=gold").into(), mesh.clone().into()];
            let seen = seen_by(updates, Settings::default());
            assert_eq!(seen.len(), if is_seen { 3 } else { 0 }, "{selector:?}");
        }
    }
}

#[test]
fn objects_of_another_revision_are_ignored() {
    let seen = |revision: &str, label: Option<&str>| {
        let mut object = at("a/e", "h.example", "192.0.2.1");
        if let Some(label) = label {
            object = object.label("istio.io/rev", label);
        }
        let settings = Settings {
            revision: revision.to_owned(),
            ..Settings::default()
        };
        !seen_by(vec![object.into()], settings).is_empty()
    };
    assert!(seen("canary", Some("canary")));
    assert!(seen("canary", None));
    assert!(seen("", Some("canary")));
    assert!(!seen("canary", Some("stable")));
}

/// What a workload of `a` with the labels `app=web` reaches: the last byte of each address.
fn reaches(updates: Vec<Update>) -> Vec<u8> {
    let mut registry = world(
        Settings::default(),
        updates.into_iter().chain([workload(1, "a", "app=web")]),
    );
    let rules = allowed(&mut registry, 1);
    let number = |n: &u8| rules.contains(&format!("tcp 192.0.2.{n}:80"));
    (1..=9).filter(number).collect()
}

/// Public entries: 1 of a, 2 and 3 of b, 4 of c; 5 is private to b.
fn offers(also: impl IntoIterator<Item = Update>) -> Vec<Update> {
    let offers = [
        at("a/e1", "own.example", "192.0.2.1"),
        at("b/e2", "x.b.example", "192.0.2.2"),
        at("b/e3", "y.z.b.example", "192.0.2.3"),
        at("c/e4", "b.example", "192.0.2.4"),
        at("b/e5", "private.b.example", "192.0.2.5").export(&["."]),
    ];
    offers.into_iter().map(Update::from).chain(also).collect()
}

#[test]
fn egress_hosts_say_what_is_imported() {
    for (hosts, expected) in [
        (&["*/*"] as &[&str], vec![1, 2, 3, 4]),
        (&["./*"], vec![1]),
        (&["a/*"], vec![1]),
        (&["b/*"], vec![2, 3]),
        (&["./*", "c/*"], vec![1, 4]),
        (&["*/x.b.example"], vec![2]),
        (&["*/*.b.example"], vec![2, 3]),
        (&["*/*.z.b.example"], vec![3]),
        (&["c/*.b.example"], vec![]),
        (&["*/b.example"], vec![4]),
        (&["~/*"], vec![]),
        (&["*/*", "~b/*"], vec![1, 4]),
        (&["*/*", "~/x.b.example"], vec![1, 3, 4]),
        (&["*/*", "~c/x.b.example"], vec![1, 2, 3, 4]),
        (&["~b/*.z.b.example", "b/*"], vec![2]),
        (&["b/private.b.example"], vec![]),
    ] {
        let updates = offers([sidecar("a/default", vec![egress(hosts)]).into()]);
        assert_eq!(reaches(updates), expected, "{hosts:?}");
    }
}

#[test]
fn exact_import_does_not_pull_in_a_wildcard_that_covers_it() {
    let wildcard = at("b/w", "*.wild.example", "192.0.2.7");
    for (host, expected) in [
        ("*/a.wild.example", vec![]),
        ("*/*.wild.example", vec![7]),
        ("*/*.example", vec![7]),
        ("*/*.a.wild.example", vec![]),
    ] {
        let updates = vec![
            wildcard.clone().into(),
            sidecar("a/default", vec![egress(&[host])]).into(),
        ];
        assert_eq!(reaches(updates), expected, "{host}");
    }
}

#[test]
fn sidecar_without_egress_imports_everything() {
    assert_eq!(
        reaches(offers([sidecar("a/default", vec![]).into()])),
        [1, 2, 3, 4]
    );
}

#[test]
fn sidecar_of_another_namespace_does_not_count() {
    let other = sidecar("b/default", vec![egress(&["~/*"])]);
    assert_eq!(reaches(offers([other.into()])), [1, 2, 3, 4]);
}

/// A Sidecar that imports the namespace b alone.
fn only_b(id: &str) -> Sidecar {
    sidecar(id, vec![egress(&["b/*"])])
}

/// A Sidecar that imports the namespace c alone.
fn only_c(id: &str) -> Sidecar {
    sidecar(id, vec![egress(&["c/*"])])
}

#[test]
fn sidecar_is_chosen_by_selector_then_namespace_then_root() {
    let (b, c) = (vec![2, 3], vec![4]);
    let cases: [(Vec<Sidecar>, &Vec<u8>); 9] = [
        (vec![only_b("a/x"), only_c("a/y").selector("app=web")], &c),
        (vec![only_b("a/x"), only_c("a/y").selector("app=db")], &b),
        (vec![only_b("a/x"), only_c("a/y").selector("")], &c),
        (vec![only_b("a/x"), only_c("istio-system/y")], &b),
        (vec![only_c("istio-system/y")], &c),
        (
            vec![only_b("a/x").selector("app=db"), only_c("istio-system/y")],
            &c,
        ),
        (vec![only_b("a/z").created(1), only_c("a/y").created(2)], &b),
        (vec![only_b("a/z"), only_c("a/y")], &c),
        (vec![only_b("a/z").created(1), only_c("a/y")], &c),
    ];
    for (sidecars, expected) in cases {
        let names: Vec<_> = sidecars.iter().map(|it| it.meta.name.clone()).collect();
        let updates = offers(sidecars.into_iter().map(Update::from));
        assert_eq!(reaches(updates), *expected, "{names:?}");
    }
}

#[test]
fn selector_sidecar_of_the_root_namespace_does_not_reach_others() {
    let root = only_c("istio-system/y").selector("app=web");
    assert_eq!(reaches(offers([root.into()])), [1, 2, 3, 4]);
}

#[test]
fn root_sidecar_is_evaluated_in_the_workloads_namespace() {
    let root = sidecar("istio-system/y", vec![egress(&["./*"])]);
    assert_eq!(reaches(offers([root.into()])), [1]);
}

#[test]
fn mesh_names_the_root_namespace() {
    let mesh = MeshConfig {
        root_namespace: Namespace::new("root"),
        ..MeshConfig::default()
    };
    let updates = offers([
        mesh.into(),
        only_b("root/x").into(),
        only_c("istio-system/y").into(),
    ]);
    assert_eq!(reaches(updates), [2, 3]);
}

#[test]
fn sidecar_of_another_revision_does_not_count() {
    let mut other = only_b("a/x");
    other.meta.labels = labels("istio.io/rev=stable");
    let settings = Settings {
        revision: "canary".to_owned(),
        ..Settings::default()
    };
    let updates = offers([other.into(), workload(1, "a", "")]);
    let mut registry = world(settings, updates);
    assert_eq!(allowed(&mut registry, 1).len(), 4);
}

/// What a workload of `a` is allowed of an entry with the ports 80 (TCP) and 443 (TLS), both at 192.0.2.1.
fn ports_behind(egress: Vec<EgressListener>) -> std::collections::BTreeSet<String> {
    let object = entry("b/e", "h.example", &[(80, Protocol::Tcp), (443, Protocol::Tls)]);
    let updates = [
        object.addresses(&["192.0.2.1"]).into(),
        sidecar("a/default", egress).into(),
        workload(1, "a", ""),
    ];
    allowed(&mut world(Settings::default(), updates), 1)
}

#[test]
fn listener_with_a_port_imports_that_port_alone() {
    let only = egress(&["*/*"]).on(443, Protocol::Tls);
    assert_eq!(ports_behind(vec![only]), set(&["tcp 192.0.2.1:443"]));
    let other = egress(&["*/*"]).on(8080, Protocol::Tcp);
    assert_eq!(ports_behind(vec![other]), set(&[]));
}

#[test]
fn listener_owns_its_port_where_services_have_no_address_of_their_own() {
    let both = set(&["tcp 192.0.2.1:443", "tcp 192.0.2.1:80"]);
    let first = egress(&["./*"]).on(443, Protocol::Tls);
    assert_eq!(ports_behind(vec![first.clone(), egress(&["*/*"])]), both);
    // HTTP is always on the common listener.
    let object = entry("b/e", "h.example", &[(80, Protocol::Http), (443, Protocol::Http)]);
    let updates = [
        object.addresses(&["192.0.2.1"]).into(),
        sidecar("a/default", vec![first, egress(&["*/*"])]).into(),
        workload(1, "a", ""),
    ];
    let mut registry = world(Settings::default(), updates);
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 192.0.2.1:80"]));
}

#[test]
fn bound_listener_is_reached_at_its_address_alone() {
    let mut bound = egress(&["*/*"]).on(443, Protocol::Tls);
    bound.bind = Bind::At(ip("198.51.100.9"));
    assert_eq!(ports_behind(vec![bound.clone()]), set(&["tcp 198.51.100.9:443"]));
    bound.bind = Bind::Anywhere;
    assert_eq!(ports_behind(vec![bound]), set(&["tcp 192.0.2.1:443"]));
}

#[test]
fn protocol_of_the_listener_replaces_the_services_own() {
    let object = entry("b/e", "h.example", &[(80, Protocol::Tcp)]);
    let as_http = sidecar("a/default", vec![egress(&["*/*"]).on(80, Protocol::Http)]);
    let updates = [
        object.into(),
        as_http.into(),
        crate::test_support::resolved("h.example", &["192.0.2.1"]),
        workload(1, "a", ""),
    ];
    let mut registry = world(Settings::default(), updates);
    assert_eq!(
        allowed(&mut registry, 1),
        set(&["tcp 192.0.2.1:80", "tcp h.example:80"])
    );
    assert_eq!(registry.hosts().len(), 1);
}

#[test]
fn bound_listener_lets_nothing_out() {
    let mut bound = egress(&["*/*"]);
    bound.bind = Bind::Local;
    assert_eq!(ports_behind(vec![bound]), set(&[]));
}

#[test]
fn own_namespace_wins_a_host() {
    let updates = vec![
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
        at("a/e", "h.example", "192.0.2.1").created(2).into(),
    ];
    assert_eq!(reaches(updates), [1]);
}

#[test]
fn own_entry_that_is_not_exported_to_its_namespace_does_not_win() {
    let updates = vec![
        at("b/e", "h.example", "192.0.2.2").into(),
        at("a/e", "h.example", "192.0.2.1").export(&["c"]).into(),
    ];
    assert_eq!(reaches(updates), [2]);
}

#[test]
fn service_beats_older_entries_of_other_namespaces() {
    let host = "s.b.svc.cluster.local";
    let kube = service("b/s", cluster_ip(&["192.0.2.2"]), &[(80, Protocol::Tcp)]);
    let squatter = at("c/e", host, "192.0.2.3").created(-1);
    let updates = vec![squatter.into(), kube.clone().into()];
    assert_eq!(reaches(updates), [2]);
    let own = at("a/e", host, "192.0.2.1");
    assert_eq!(reaches(vec![own.into(), kube.into()]), [1]);
}

#[test]
fn entry_only_decorates_the_service_of_its_namespace() {
    let kube = service("b/s", cluster_ip(&["192.0.2.2"]), &[(80, Protocol::Tcp)]);
    let decoration = at("b/e", "s.b.svc.cluster.local", "192.0.2.3");
    assert_eq!(reaches(vec![kube.into(), decoration.into()]), [2]);
}

#[test]
fn oldest_then_first_namespace_wins_among_others() {
    let oldest = vec![
        at("b/e", "h.example", "192.0.2.2").created(2).into(),
        at("c/e", "h.example", "192.0.2.3").created(1).into(),
    ];
    assert_eq!(reaches(oldest), [3]);
    let alphabet = vec![
        at("c/e", "h.example", "192.0.2.3").created(1).into(),
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
    ];
    assert_eq!(reaches(alphabet), [2]);
    let ageless = vec![
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
        at("c/e", "h.example", "192.0.2.3").into(),
    ];
    assert_eq!(reaches(ageless), [3]);
}

#[test]
fn entry_exported_by_name_beats_an_older_public_one() {
    let updates = vec![
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
        at("c/e", "h.example", "192.0.2.3")
            .export(&["a"])
            .created(2)
            .into(),
    ];
    assert_eq!(reaches(updates), [3]);
}

#[test]
fn entries_of_the_namespace_that_wins_add_up() {
    let updates = vec![
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
        at("c/e", "h.example", "192.0.2.3").created(2).into(),
        at("b/f", "h.example", "192.0.2.4").created(3).into(),
    ];
    assert_eq!(reaches(updates), [2, 4]);
}

#[test]
fn host_is_won_among_what_the_sidecar_imports() {
    let updates = vec![
        at("b/e", "h.example", "192.0.2.2").created(1).into(),
        at("c/e", "h.example", "192.0.2.3").created(2).into(),
        only_c("a/default").into(),
    ];
    assert_eq!(reaches(updates), [3]);
}

#[test]
fn each_host_of_an_entry_is_won_on_its_own() {
    let own = at("a/e", "x.example", "192.0.2.1");
    let other = entry("b/e", "x.example", &[(80, Protocol::Http)])
        .host("y.example")
        .resolution(Resolution::Dns);
    let updates = vec![
        own.into(),
        other.into(),
        crate::test_support::resolved("x.example", &["192.0.2.2"]),
        crate::test_support::resolved("y.example", &["192.0.2.3"]),
    ];
    assert_eq!(reaches(updates), [1, 3]);
}

#[test]
fn mode_comes_from_the_sidecar_then_the_mesh_then_the_settings() {
    let mode = |settings: Option<OutboundMode>, mesh: Option<OutboundMode>, own: Option<OutboundMode>| {
        let mut settings_of = Settings::default();
        if let Some(mode) = settings {
            settings_of.mode = mode;
        }
        let mesh = MeshConfig {
            mode: mesh,
            ..MeshConfig::default()
        };
        let mut updates = vec![mesh.into(), workload(1, "a", "")];
        if let Some(own) = own {
            updates.push(sidecar("a/default", vec![]).mode(own).into());
        }
        policy(&mut world(settings_of, updates), 1).mode
    };
    let (any, only) = (Some(OutboundMode::AllowAny), Some(OutboundMode::RegistryOnly));
    assert_eq!(mode(None, None, None), Mode::Enforce);
    assert_eq!(mode(any, None, None), Mode::Observe);
    assert_eq!(mode(any, only, None), Mode::Enforce);
    assert_eq!(mode(only, any, None), Mode::Observe);
    assert_eq!(mode(only, any, only), Mode::Enforce);
    assert_eq!(mode(only, only, any), Mode::Observe);
}

#[test]
fn sidecar_without_a_policy_has_the_meshs() {
    let mesh = MeshConfig {
        mode: Some(OutboundMode::AllowAny),
        ..MeshConfig::default()
    };
    let updates = [mesh.into(), only_b("a/default").into(), workload(1, "a", "")];
    assert_eq!(
        policy(&mut world(Settings::default(), updates), 1).mode,
        Mode::Observe
    );
}

#[test]
fn trial_replaces_enforcement_and_not_observation() {
    let settings = |mode| Settings {
        audit: true,
        mode,
        ..Settings::default()
    };
    let mode = |mode| policy(&mut world(settings(mode), [workload(1, "a", "")]), 1).mode;
    assert_eq!(mode(OutboundMode::RegistryOnly), Mode::Audit);
    assert_eq!(mode(OutboundMode::AllowAny), Mode::Observe);
}
