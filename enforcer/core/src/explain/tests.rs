//! Reasons, as the text that users read.

use super::*;
use crate::{
    capacity::Capacities,
    istio::{MeshConfig, OutboundMode, Resolution, ServiceEntry, ServiceKind},
    model::{Namespace, Protocol},
    plan::{Applied, diff},
    policy::fit,
    registry::Update,
    settings::{Matching, Settings},
    test_support::{
        cluster_ip, egress, entry, export, ip, pod, resolved, service, sidecar, slice, workload, world,
    },
};

/// Asks for a workload of `frontend`; `udp ` in front of the destination asks for UDP.
fn explain(settings: Settings, updates: impl IntoIterator<Item = Update>, destination: &str) -> Explanation {
    let (transport, destination) = match destination.strip_prefix("udp ") {
        Some(rest) => (Transport::Udp, rest),
        None => (Transport::Tcp, destination),
    };
    let at: std::net::SocketAddr = destination.parse().unwrap();
    let workload = workload(1, "frontend", "app=web");
    let mut registry = world(settings, updates.into_iter().chain([workload]));
    registry.explain(CgroupId(1), Destination::new(transport, at.ip(), at.port()))
}

fn check(updates: impl IntoIterator<Item = Update>, destination: &str, expected: &str) {
    let explanation = explain(Settings::default(), updates, destination);
    assert_eq!(explanation.to_string(), expected);
    assert_eq!(explanation.suggestion.is_none(), explanation.why.is_permission());
}

fn suggestion(updates: impl IntoIterator<Item = Update>, destination: &str) -> String {
    explain(Settings::default(), updates, destination)
        .suggestion
        .unwrap()
}

fn db(id: &str) -> ServiceEntry {
    entry(id, "db.example.com", &[(5432, Protocol::Tcp)]).resolution(Resolution::Dns)
}

fn answer() -> Update {
    resolved("db.example.com", &["192.0.2.1", "2001:db8::1"])
}

#[test]
fn permission_names_the_object_the_port_and_the_source() {
    let tcp = |id| entry(id, "db.example.com", &[(5432, Protocol::Tcp)]);
    let objects = || [db("frontend/db").into(), answer()];
    let by_dns = "allowed by ServiceEntry frontend/db port tcp-5432 (DNS db.example.com)";
    check(objects(), "192.0.2.1:5432", by_dns);
    check(objects(), "[2001:db8::1]:5432", by_dns);
    check(objects(), "[::ffff:192.0.2.1]:5432", by_dns);
    for (object, source) in [
        (tcp("a/e").addresses(&["192.0.2.0/24"]), "addresses"),
        (tcp("a/e"), "any address"),
        (tcp("a/e").selector("app=db"), "workloadSelector"),
        (
            tcp("a/e")
                .resolution(Resolution::Static)
                .endpoints(&["192.0.2.1"]),
            "endpoint",
        ),
        (
            tcp("a/e")
                .resolution(Resolution::Dns)
                .allocated("db.example.com", "192.0.2.1"),
            "allocated address",
        ),
    ] {
        let updates = [object.into(), pod("a/p", &["192.0.2.1"], "app=db").into()];
        let expected = format!("allowed by ServiceEntry a/e port tcp-5432 ({source})");
        check(updates, "192.0.2.1:5432", &expected);
    }
}

#[test]
fn services_are_named() {
    let cluster = service("b/s", cluster_ip(&["10.96.0.1"]), &[(80, Protocol::Http)]);
    check(
        [cluster.into()],
        "10.96.0.1:80",
        "allowed by Service b/s port http-80 (cluster IP)",
    );
    let headless = service("b/s", ServiceKind::Headless, &[(80, Protocol::Tcp)]);
    check(
        [headless.into(), slice("b/s-1", "s", &["10.3.0.1"]).into()],
        "10.3.0.1:80",
        "allowed by Service b/s port tcp-80 (endpoint)",
    );
}

#[test]
fn narrowest_rule_is_the_reason_and_all_are_listed() {
    let wide = entry("a/wide", "wide.example", &[(5432, Protocol::Tcp)]);
    let network = entry("a/net", "net.example", &[(5432, Protocol::Tcp)]).addresses(&["192.0.2.0/24"]);
    let updates = [wide.into(), network.into(), db("z/db").into(), answer()];
    let explanation = explain(Settings::default(), updates, "192.0.2.1:5432");
    assert_eq!(
        explanation.to_string(),
        "allowed by ServiceEntry z/db port tcp-5432 (DNS db.example.com)"
    );
    let names = explanation
        .matched
        .iter()
        .map(|matched| matched.object.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["db", "net", "wide"]);
}

#[test]
fn what_is_always_allowed_says_so() {
    check(
        [],
        "127.0.0.1:80",
        "allowed by the workload's own network namespace (loopback)",
    );
    check(
        [],
        "[::1]:80",
        "allowed by the workload's own network namespace (loopback)",
    );
    let settings = || Settings {
        resolvers: [ip("192.0.2.53")].into(),
        udp: UdpPolicy::Allow,
        ..Settings::default()
    };
    let resolver = explain(settings(), [], "192.0.2.53:53").to_string();
    assert_eq!(resolver, "allowed by the configuration (trusted resolver)");
    let udp = explain(settings(), [], "udp 192.0.2.99:99").to_string();
    assert_eq!(udp, "allowed by the configuration (udp: allow)");
}

#[test]
fn entry_of_another_namespace_is_not_exported() {
    let updates = || [db("default/db").export(&["."]).into(), answer()];
    let expected = "denied: ServiceEntry default/db is not exported to frontend";
    check(updates(), "192.0.2.1:5432", expected);
    assert_eq!(
        suggestion(updates(), "192.0.2.1:5432"),
        "add frontend to exportTo of ServiceEntry default/db"
    );
}

#[test]
fn port_that_is_not_declared_names_the_nearest() {
    let updates = || [db("frontend/db").into(), answer()];
    check(
        updates(),
        "192.0.2.1:5433",
        "denied: host known, port 5433 not declared, nearest 5432 (ServiceEntry frontend/db, db.example.com)",
    );
    assert_eq!(
        suggestion(updates(), "192.0.2.1:5433"),
        "add port 5433 with protocol TCP to ServiceEntry frontend/db"
    );
    let portless = entry("a/e", "e.example", &[]).addresses(&["192.0.2.1"]);
    check(
        [portless.into()],
        "192.0.2.1:80",
        "denied: host known, port 80 not declared, none is (ServiceEntry a/e, e.example)",
    );
}

#[test]
fn port_of_the_other_transport_is_told_apart() {
    check(
        [db("frontend/db").into(), answer()],
        "udp 192.0.2.1:5432",
        "denied: ServiceEntry frontend/db declares port 5432, but not for UDP",
    );
}

#[test]
fn refused_udp_names_the_configuration() {
    let settings = Settings {
        udp: UdpPolicy::DnsOnly,
        ..Settings::default()
    };
    let object = entry("a/e", "e.example", &[(123, Protocol::Udp)]).addresses(&["192.0.2.1"]);
    let explanation = explain(settings, [object.into()], "udp 192.0.2.1:123");
    assert_eq!(
        explanation.to_string(),
        "denied: ServiceEntry a/e declares it, but the configuration refuses UDP (udp: dns-only)"
    );
}

#[test]
fn port_that_the_proxy_keeps_to_itself_is_named() {
    let object = entry("a/e", "h.example", &[(15021, Protocol::Http)]).addresses(&["192.0.2.1"]);
    let explanation = explain(Settings::default(), [object.into()], "192.0.2.1:15021");
    assert_eq!(
        explanation.to_string(),
        "denied: ServiceEntry a/e declares port 15021 for HTTP, which Istio's proxy keeps to itself"
    );
    assert_eq!(
        explanation.suggestion.unwrap(),
        "declare port 15021 with protocol TCP in ServiceEntry a/e"
    );
}

#[test]
fn sidecar_that_does_not_import_it_is_named() {
    let updates = |listeners| {
        [
            db("default/db").into(),
            answer(),
            sidecar("frontend/default", listeners).into(),
        ]
    };
    let none = || updates(vec![egress(&["./*"])]);
    check(
        none(),
        "192.0.2.1:5432",
        "denied: Sidecar frontend/default does not import it (db.example.com of ServiceEntry default/db)",
    );
    assert_eq!(
        suggestion(none(), "192.0.2.1:5432"),
        "add default/db.example.com to the egress hosts of Sidecar frontend/default"
    );
}

#[test]
fn port_that_the_sidecar_leaves_out_is_named() {
    let mut object = db("default/db");
    object.ports.push(crate::test_support::port(80, Protocol::Tcp));
    let only = egress(&["*/*"]).on(80, Protocol::Tcp);
    let updates = [
        object.into(),
        answer(),
        sidecar("frontend/default", vec![only]).into(),
    ];
    check(
        updates,
        "192.0.2.1:5432",
        "denied: Sidecar frontend/default does not import it on port 5432 (db.example.com of ServiceEntry default/db)",
    );
}

#[test]
fn host_that_another_namespace_wins_is_displaced() {
    let other = entry("default/db", "db.example.com", &[(5432, Protocol::Tcp)]).addresses(&["192.0.2.7"]);
    let expected = "denied: ServiceEntry default/db does not count here: ServiceEntry frontend/db has the host db.example.com";
    check(
        [db("frontend/db").into(), other.clone().into()],
        "192.0.2.7:5432",
        expected,
    );
    let portless = entry("frontend/db", "db.example.com", &[]);
    check([portless.into(), other.into()], "192.0.2.7:5432", expected);
}

#[test]
fn address_that_is_not_among_the_declared_ones_is_told() {
    let object = db("frontend/db").addresses(&["198.51.100.1"]);
    check(
        [object.into(), answer()],
        "192.0.2.1:5432",
        "denied: ServiceEntry frontend/db has the host db.example.com, but not at this address",
    );
}

#[test]
fn ignored_object_says_why() {
    let settings = Settings {
        revision: "canary".to_owned(),
        ..Settings::default()
    };
    let object = entry("a/e", "e.example", &[(80, Protocol::Tcp)])
        .addresses(&["192.0.2.1"])
        .label("istio.io/rev", "stable");
    assert_eq!(
        explain(settings, [object.into()], "192.0.2.1:80").to_string(),
        "denied: ServiceEntry a/e is ignored: it is labelled for another revision (istio.io/rev)"
    );
}

#[test]
fn address_that_nobody_has_is_unregistered() {
    check(
        [],
        "192.0.2.1:80",
        "denied: no ServiceEntry or Service has this address",
    );
    assert_eq!(
        suggestion([], "192.0.2.1:80"),
        "a ServiceEntry in namespace frontend for address 192.0.2.1, port 80 with protocol TCP"
    );
    assert_eq!(
        suggestion([resolved("seen.example", &["192.0.2.1"])], "192.0.2.1:80"),
        "a ServiceEntry in namespace frontend for host seen.example, port 80 with protocol TCP"
    );
}

#[test]
fn withheld_rule_is_nearer_than_another_port_of_a_host_that_is_seen() {
    let seen = entry("frontend/web", "web.example", &[(443, Protocol::Tls)]).addresses(&["192.0.2.1"]);
    let hidden = db("default/db").export(&["."]);
    check(
        [seen.into(), hidden.into(), answer()],
        "192.0.2.1:5432",
        "denied: ServiceEntry default/db is not exported to frontend",
    );
}

#[test]
fn mode_decides_what_becomes_of_a_miss() {
    let mesh = MeshConfig {
        mode: Some(OutboundMode::AllowAny),
        ..MeshConfig::default()
    };
    check(
        [mesh.into()],
        "192.0.2.1:80",
        "allowed by ALLOW_ANY: no ServiceEntry or Service has this address",
    );
    let settings = Settings {
        audit: true,
        ..Settings::default()
    };
    let explanation = explain(settings, [], "192.0.2.1:80");
    assert_eq!(
        (explanation.verdict, explanation.mode),
        (Verdict::Audit, Some(Mode::Audit))
    );
    assert_eq!(
        explanation.to_string(),
        "would be denied: no ServiceEntry or Service has this address"
    );
}

#[test]
fn cgroup_of_no_workload_is_denied() {
    let mut registry = world(Settings::default(), []);
    let destination = Destination::new(Transport::Tcp, ip("127.0.0.1"), 80);
    let explanation = registry.explain(CgroupId(9), destination);
    assert_eq!(explanation.verdict, Verdict::Deny);
    assert_eq!(
        explanation.to_string(),
        "denied: the cgroup belongs to no known workload"
    );
}

#[test]
fn workload_that_is_not_there_can_be_asked_for() {
    let mut registry = world(Settings::default(), [db("frontend/db").into(), answer()]);
    let workload = Workload::new(
        Namespace::new("frontend"),
        "planned",
        crate::test_support::labels(""),
    );
    let destination = Destination::new(Transport::Tcp, ip("192.0.2.1"), 5432);
    assert_eq!(
        registry
            .explain_for(&workload, destination, &std::collections::BTreeSet::new())
            .verdict,
        Verdict::Allow
    );
    assert!(registry.desired().policies.is_empty());
}

#[test]
fn matching_istio_names_the_port_alone() {
    let settings = Settings {
        matching: Matching::Istio,
        ..Settings::default()
    };
    let object = entry("a/e", "e.example", &[(80, Protocol::Http)]);
    assert_eq!(
        explain(settings, [object.into()], "192.0.2.1:80").to_string(),
        "allowed by ServiceEntry a/e port http-80 (any address)"
    );
}

#[test]
fn protocol_of_a_listener_that_allows_any_address_is_seen() {
    let settings = Settings {
        matching: Matching::Istio,
        ..Settings::default()
    };
    let object = entry("a/e", "e.example", &[(80, Protocol::Tcp)]).addresses(&["198.51.100.1"]);
    let as_http = sidecar("frontend/default", vec![egress(&["*/*"]).on(80, Protocol::Http)]);
    assert_eq!(
        explain(settings, [object.into(), as_http.into()], "192.0.2.1:80").to_string(),
        "allowed by ServiceEntry a/e port tcp-80 (any address)"
    );
}

#[test]
fn hidden_service_is_told_like_an_entry() {
    let mut hidden = service("b/s", cluster_ip(&["10.96.0.1"]), &[(80, Protocol::Tcp)]);
    hidden.export_to = export(&["~"]);
    check(
        [hidden.into()],
        "10.96.0.1:80",
        "denied: Service b/s is not exported to frontend",
    );
}

#[test]
fn name_that_was_asked_for_is_the_one_to_register() {
    let mut registry = world(Settings::default(), [workload(1, "frontend", "app=web")]);
    let destination = Destination::new(Transport::Tcp, ip("192.0.2.1"), 443);
    let nothing = std::collections::BTreeSet::new();
    let asked = (&Host::new("api.stripe.example"), &nothing);
    let explanation = registry.explain_asked(CgroupId(1), destination, asked);
    assert_eq!(
        explanation.suggestion.unwrap(),
        "a ServiceEntry in namespace frontend for host api.stripe.example, port 443 with protocol TCP"
    );
}

#[test]
fn entry_that_would_allow_is_written_by_host_or_by_address() {
    let namespace = Namespace::new("frontend");
    let to = |address| Destination::new(Transport::Tcp, ip(address), 5432);
    let by_host = service_entry(&namespace, Some(&Host::new("db.example.com")), to("192.0.2.1"));
    assert_eq!(
        by_host,
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: db-example-com-5432
  namespace: frontend
spec:
  hosts:
  - db.example.com
  resolution: DNS
  location: MESH_EXTERNAL
  ports:
  - number: 5432
    name: tcp-5432
    protocol: TCP
  exportTo:
  - \".\"
"
    );
    let by_address = service_entry(&namespace, None, to("2001:db8::1"));
    assert!(by_address.contains("  - \"2001-db8-0-0-0-0-0-1.invalid\"\n"));
    assert!(by_address.contains("  addresses:\n  - \"2001:db8::1\"\n  resolution: NONE\n"));
    assert!(by_address.contains("  name: \"2001-db8-0-0-0-0-0-1-5432\"\n"));
}

#[test]
fn what_the_maps_do_not_hold_is_denied_whatever_the_registry_says() {
    let mut registry = world(
        Settings::default(),
        [db("frontend/db").into(), answer(), workload(1, "frontend", "")],
    );
    let to = Destination::new(Transport::Tcp, ip("192.0.2.1"), 5432);
    let given = std::collections::BTreeSet::new();
    let explanation = registry.explain(CgroupId(1), to);
    let desired = (*registry.desired()).clone();
    let text = |capacities: &Capacities| {
        let fitted = fit(desired.clone(), capacities).0;
        let held = diff(&Applied::default(), &fitted).after;
        explanation
            .clone()
            .as_held(&held, (CgroupId(1), to, &given))
            .to_string()
    };
    let whole = Capacities::default();
    assert_eq!(text(&whole), explanation.to_string());
    assert_eq!(
        text(&Capacities { exact: 0, ..whole }),
        "denied: the kernel's maps do not hold the rule of ServiceEntry frontend/db port tcp-5432 (DNS db.example.com): see \
         capacities"
    );
    assert_eq!(
        text(&Capacities {
            workloads: 0,
            ..whole
        }),
        "denied: the kernel's maps do not have the workload: see capacities"
    );
}

#[test]
fn what_the_maps_hold_until_they_are_changed_is_allowed() {
    let mut registry = world(
        Settings::default(),
        [db("frontend/db").into(), answer(), workload(1, "frontend", "")],
    );
    let held = diff(&Applied::default(), &registry.desired()).after;
    registry.apply(Update::Delete(crate::istio::Object::from(db("frontend/db")).id()));
    let to = Destination::new(Transport::Tcp, ip("192.0.2.1"), 5432);
    let given = std::collections::BTreeSet::new();
    let explanation = registry
        .explain(CgroupId(1), to)
        .as_held(&held, (CgroupId(1), to, &given));
    assert_eq!(
        (explanation.verdict, explanation.suggestion.is_none()),
        (Verdict::Allow, true)
    );
    assert!(
        explanation
            .to_string()
            .starts_with("allowed by the kernel's maps, which are about to change (")
    );
}
