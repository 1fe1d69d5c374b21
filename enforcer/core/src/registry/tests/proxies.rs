//! What a workload with a proxy reaches beside its view.

use super::*;
use crate::{
    istio::{Dialled, MeshConfig, Resolution, ServiceKind},
    model::{Destination, Protocol, Transport},
    policy::Shared,
    settings::Matching,
    test_support::{
        allowed, cluster_ip, egress, entry, pod, policy, port, proxied, resolved, service, set, sidecar,
        slice, workload, workload_entry, world,
    },
};

/// The rules of a workload of `shop` with a proxy, and those of one without.
fn both(settings: Settings, updates: Vec<Update>) -> [BTreeSet<String>; 2] {
    let workloads = [proxied(1, "shop", ""), workload(2, "shop", "")];
    let mut registry = world(settings, updates.into_iter().chain(workloads));
    [1, 2].map(|cgroup| allowed(&mut registry, cgroup))
}

/// What the proxy adds.
fn added(updates: Vec<Update>) -> BTreeSet<String> {
    let [with, without] = both(Settings::default(), updates);
    assert!(without.is_subset(&with), "{without:?} {with:?}");
    with.difference(&without).cloned().collect()
}

#[test]
fn endpoints_of_a_service_are_dialled_on_the_ports_of_their_slices() {
    let cart = service(
        "shop/cart",
        cluster_ip(&["10.96.0.1"]),
        &[(80, Protocol::Http), (90, Protocol::Tcp), (53, Protocol::Udp)],
    );
    let name = |number, protocol| port(number, protocol).name;
    let first = slice("shop/cart-1", "cart", &["10.1.0.1", "fd00::1"])
        .serving(&name(80, Protocol::Http), 8080)
        .serving("other", 9999);
    let second = slice("shop/cart-2", "cart", &["10.1.0.2"]).serving(&name(80, Protocol::Http), 8081);
    let of_another = slice("far/cart-1", "cart", &["10.1.0.9"]).serving(&name(80, Protocol::Http), 8080);
    let updates = vec![cart.into(), first.into(), second.into(), of_another.into()];
    let expected = &[
        "tcp 10.1.0.1:8080",
        "tcp [fd00::1]:8080",
        "tcp 10.1.0.2:8081",
        "tcp 10.1.0.1:15008",
        "tcp [fd00::1]:15008",
        "tcp 10.1.0.2:15008",
    ];
    assert_eq!(added(updates), set(expected));
}

#[test]
fn workload_entries_that_a_service_selects_are_dialled() {
    let mut legacy = service("shop/legacy", cluster_ip(&["10.96.0.1"]), &[(80, Protocol::Http)]);
    legacy.ports[0].target = Some(8080);
    legacy.selector = crate::test_support::labels("app=legacy");
    let vm = workload_entry("shop/vm", "192.0.2.10", "app=legacy");
    let other = workload_entry("shop/other", "192.0.2.11", "app=other");
    let mut registry = world(
        Settings::default(),
        [legacy.into(), other.into(), proxied(1, "shop", "")],
    );
    assert_eq!(allowed(&mut registry, 1), set(&["tcp 10.96.0.1:80"]));
    registry.apply(vm.into());
    assert_eq!(
        allowed(&mut registry, 1),
        set(&["tcp 10.96.0.1:80", "tcp 192.0.2.10:8080", "tcp 192.0.2.10:15008"])
    );
}

#[test]
fn target_port_of_an_entry_is_dialled_where_its_endpoints_are() {
    let mut db = entry("shop/db", "db.example", &[(5432, Protocol::Tcp)])
        .addresses(&["192.0.2.1"])
        .resolution(Resolution::Static)
        .endpoints(&["198.51.100.1", "198.51.100.2"]);
    db.ports[0].target = Some(15432);
    let name = db.ports[0].name.clone();
    db.endpoints[1].ports.insert(name, 25432);
    assert_eq!(
        added(vec![db.into()]),
        set(&[
            "tcp 198.51.100.1:15432",
            "tcp 198.51.100.2:25432",
            "tcp 198.51.100.1:15008",
            "tcp 198.51.100.2:15008",
        ])
    );
}

#[test]
fn names_are_dialled_at_the_target_port_by_what_the_proxy_is_given_for_them() {
    let mut api = entry("shop/api", "api.example", &[(80, Protocol::Http)])
        .addresses(&["192.0.2.1"])
        .resolution(Resolution::Dns);
    api.ports[0].target = Some(443);
    let answer = resolved("api.example", &["198.51.100.1"]);
    let expected = ["tcp 198.51.100.1:443", "tcp api.example:443"];
    assert_eq!(added(vec![api.clone().into(), answer.clone()]), set(&expected));
    let istio = Settings {
        matching: Matching::Istio,
        ..Settings::default()
    };
    let [with, without] = both(istio, vec![api.into(), answer]);
    assert_eq!(without, set(&["tcp *:80"]));
    assert_eq!(
        with.difference(&without).cloned().collect::<BTreeSet<_>>(),
        set(&expected)
    );
}

#[test]
fn what_the_client_dials_is_dialled_at_the_target_port_without_resolution() {
    let mut net = entry("shop/net", "net.example", &[(80, Protocol::Tcp)]).addresses(&["192.0.2.0/24"]);
    net.ports[0].target = Some(8080);
    assert_eq!(added(vec![net.into()]), set(&["tcp 192.0.2.0/24:8080"]));
}

#[test]
fn selected_workloads_are_dialled_ready_or_not() {
    let mut db = entry("shop/db", "db.example", &[(5432, Protocol::Tcp)])
        .addresses(&["192.0.2.1"])
        .resolution(Resolution::Static)
        .selector("app=db");
    db.ports[0].target = Some(15432);
    let mut unready = pod("shop/a", &["10.1.0.1"], "app=db");
    unready.is_ready = false;
    assert_eq!(
        added(vec![db.into(), unready.into()]),
        set(&["tcp 10.1.0.1:15432", "tcp 10.1.0.1:15008"])
    );
}

#[test]
fn proxy_has_no_part_in_what_the_view_does_not_have() {
    let hidden = || {
        let mut hidden = service("pay/card", cluster_ip(&["10.96.0.9"]), &[(80, Protocol::Http)]);
        hidden.export_to = crate::test_support::export(&["."]);
        let name = port(80, Protocol::Http).name;
        vec![
            hidden.into(),
            slice("pay/card-1", "card", &["10.1.0.9"])
                .serving(&name, 8080)
                .into(),
        ]
    };
    assert_eq!(added(hidden()), set(&[]));
    let mut trimmed = hidden();
    let name = port(81, Protocol::Http).name;
    let open = service("pay/open", cluster_ip(&["10.96.0.8"]), &[(81, Protocol::Http)]);
    trimmed.push(open.into());
    trimmed.push(
        slice("pay/open-1", "open", &["10.1.0.8"])
            .serving(&name, 8081)
            .into(),
    );
    assert_eq!(
        added(trimmed.clone()),
        set(&["tcp 10.1.0.8:8081", "tcp 10.1.0.8:15008"])
    );
    trimmed.push(sidecar("shop/default", vec![egress(&["./*"])]).into());
    assert_eq!(added(trimmed), set(&[]), "the Sidecar does not import it");
}

#[test]
fn istiod_is_dialled_whatever_the_view() {
    let istiod = service(
        "istio-system/istiod",
        cluster_ip(&["10.96.0.15"]),
        &[(15012, Protocol::Tls), (443, Protocol::Tls)],
    );
    let name = port(15012, Protocol::Tls).name;
    let behind = slice("istio-system/istiod-1", "istiod", &["10.1.0.15"]).serving(&name, 15012);
    let trimmed = sidecar("shop/default", vec![egress(&["./*"])]);
    assert_eq!(
        added(vec![istiod.into(), behind.into(), trimmed.into()]),
        set(&[
            "tcp 10.96.0.15:15012",
            "tcp 10.1.0.15:15012",
            "tcp 10.1.0.15:15008"
        ])
    );
}

#[test]
fn nobody_opens_anything_by_an_entry_for_the_host_of_the_infrastructure() {
    let forged = |namespace: &str, to: &[&str]| {
        let host = "istiod.istio-system.svc.cluster.local";
        let mut forged = entry(&format!("{namespace}/x"), host, &[(15012, Protocol::Tcp)]).export(to);
        forged.ports[0].target = Some(5432);
        forged
    };
    assert_eq!(added(vec![forged("evil", &["."]).into()]), set(&[]));
    let mesh = MeshConfig {
        dialled: vec![Dialled {
            host: "otel.example.com".to_owned(),
            port: 4317,
            transport: Transport::Tcp,
        }],
        ..MeshConfig::default()
    };
    let otel = |id: &str, port| {
        entry(id, "otel.example.com", &[(port, Protocol::Tcp)])
            .addresses(&["192.0.2.66"])
            .export(&["."])
    };
    let answer = || resolved("otel.example.com", &["198.51.100.8"]);
    let named = ["tcp 198.51.100.8:4317", "tcp otel.example.com:4317"];
    for other in [otel("evil/o", 4317), otel("istio-system/o", 443)] {
        let updates = vec![mesh.clone().into(), other.into(), answer()];
        assert_eq!(added(updates), set(&named), "its name is resolved");
    }
    let updates = vec![mesh.into(), otel("istio-system/o", 4317).into(), answer()];
    assert_eq!(added(updates), set(&["tcp 192.0.2.66:4317"]));
}

#[test]
fn what_the_mesh_names_is_dialled_by_its_address_its_service_or_its_name() {
    let dialled = |host: &str, port, transport| Dialled {
        host: host.to_owned(),
        port,
        transport,
    };
    let mesh = MeshConfig {
        dialled: vec![
            dialled("192.0.2.5", 9411, Transport::Tcp),
            dialled("otel.telemetry", 4317, Transport::Tcp),
            dialled("statsd.example.com", 8125, Transport::Udp),
            dialled("gone.telemetry.svc", 1, Transport::Tcp),
        ],
        ..MeshConfig::default()
    };
    let mut otel = service(
        "telemetry/otel",
        cluster_ip(&["10.96.0.4"]),
        &[(4317, Protocol::Grpc)],
    );
    otel.export_to = crate::test_support::export(&["."]);
    let answer = resolved("statsd.example.com", &["198.51.100.8"]);
    let updates = vec![mesh.into(), otel.into(), answer];
    assert_eq!(
        added(updates.clone()),
        set(&[
            "tcp 192.0.2.5:9411",
            "tcp 10.96.0.4:4317",
            "udp 198.51.100.8:8125",
            "udp statsd.example.com:8125",
        ])
    );
    let mut registry = world(
        Settings::default(),
        updates.into_iter().chain([proxied(1, "shop", "")]),
    );
    let hosts = registry.hosts();
    let hosts: Vec<_> = hosts.iter().map(Host::as_str).collect();
    assert_eq!(
        hosts,
        ["statsd.example.com"],
        "services of the cluster are not resolved"
    );
}

#[test]
fn workloads_with_a_proxy_share_what_stands_behind_common_hosts() {
    let name = port(80, Protocol::Http).name;
    let mut registry = world(
        Settings::default(),
        [
            service("x/cart", cluster_ip(&["10.96.0.1"]), &[(80, Protocol::Http)]).into(),
            slice("x/cart-1", "cart", &["10.1.0.1"])
                .serving(&name, 8080)
                .into(),
            proxied(1, "a", ""),
            proxied(2, "b", ""),
            workload(3, "a", ""),
        ],
    );
    let desired = registry.desired();
    let sizes = desired
        .shared
        .iter()
        .map(|(shared, rules)| (*shared, rules.len()));
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(Shared::Plain, 1), (Shared::Proxied, 3)]
    );
    assert_eq!(desired.policies.len(), 2, "two namespaces, one policy");
    assert!(policy(&mut registry, 1).own.is_empty());
    registry.apply(Update::WorkloadGone(CgroupId(1)));
    registry.apply(Update::WorkloadGone(CgroupId(2)));
    assert_eq!(registry.desired().shared.len(), 1, "nobody shares it any more");
}

#[test]
fn explanation_says_whose_endpoint_it_is() {
    let name = port(80, Protocol::Http).name;
    let mut registry = world(
        Settings::default(),
        [
            service("shop/cart", cluster_ip(&["10.96.0.1"]), &[(80, Protocol::Http)]).into(),
            slice("shop/cart-1", "cart", &["10.1.0.1"])
                .serving(&name, 8080)
                .into(),
            proxied(1, "shop", ""),
            workload(2, "shop", ""),
        ],
    );
    let mut explain = |cgroup, port| {
        let to = Destination::new(Transport::Tcp, "10.1.0.1".parse().unwrap(), port);
        registry.explain(CgroupId(cgroup), to).to_string()
    };
    let allowed = "allowed as an endpoint of Service shop/cart, which the pod's proxy dials";
    assert_eq!(explain(1, 8080), allowed);
    assert_eq!(explain(1, 15008), allowed);
    let refused = "denied: it is an endpoint of Service shop/cart, which is reached as \
                   cart.shop.svc.cluster.local";
    assert_eq!(explain(1, 8081), refused);
    assert_eq!(explain(2, 8080), refused);
    let wide = entry("far/scrape", "scrape.invalid", &[(15020, Protocol::Tcp)])
        .addresses(&["10.1.0.0/16"])
        .export(&["."]);
    registry.apply(wide.into());
    let to = Destination::new(Transport::Tcp, "10.1.0.1".parse().unwrap(), 8081);
    let explained = registry.explain(CgroupId(1), to);
    assert_eq!(
        explained.to_string(),
        refused,
        "an entry without the port says less"
    );
    registry.apply(sidecar("shop/default", vec![egress(&["far/*"])]).into());
    assert_eq!(
        registry.explain(CgroupId(1), to).to_string(),
        "denied: Sidecar shop/default does not import it (cart.shop.svc.cluster.local of Service shop/cart)"
    );
}

#[test]
fn headless_services_and_aliases_have_what_their_slices_name() {
    let name = port(80, Protocol::Tcp).name;
    let headless = service("shop/db", ServiceKind::Headless, &[(80, Protocol::Tcp)]);
    let alias = service(
        "shop/alias",
        ServiceKind::ExternalName(Host::new("db.shop.svc.cluster.local")),
        &[(80, Protocol::Tcp)],
    );
    let slice = slice("shop/db-1", "db", &["10.1.0.1"]).serving(&name, 8080);
    assert_eq!(
        added(vec![headless.into(), alias.into(), slice.into()]),
        set(&["tcp 10.1.0.1:8080", "tcp 10.1.0.1:15008"])
    );
}
