//! The decision table: each row in both matchings, IPv4 and IPv6.

use crate::{
    istio::{Object, Resolution, ServiceEntry, ServiceKind},
    model::Protocol,
    registry::Update,
    settings::{Matching, Settings, UdpPolicy},
    test_support::{
        allowed, cluster_ip, entry, pod, port, resolved, service, set, slice, workload, workload_entry, world,
    },
};

const HTTP: &[Protocol] = &[
    Protocol::Http,
    Protocol::Http2,
    Protocol::Grpc,
    Protocol::GrpcWeb,
    Protocol::HttpProxy,
];
const TLS: &[Protocol] = &[Protocol::Tls, Protocol::Https];
const TCP: &[Protocol] = &[Protocol::Tcp, Protocol::Mongo, Protocol::Redis, Protocol::Mysql];
const AUTO: &[Protocol] = &[Protocol::Auto];

const ANY: &[&str] = &["tcp *:443"];
/// What `h.example` resolves to in every case, and the rule for other addresses that a workload learns for it.
const HOST: &[&str] = &["tcp 192.0.2.1:443", "tcp [2001:db8::1]:443", "tcp h.example:443"];

/// What surrounds the entry under test in every case.
fn surroundings() -> Vec<Update> {
    vec![
        resolved("h.example", &["192.0.2.1", "2001:db8::1"]),
        resolved("ep.example", &["192.0.2.9"]),
        pod("ns/a", &["10.1.0.1", "fd00::1"], "app=db").into(),
        pod("elsewhere/a", &["10.1.0.2"], "app=db").into(),
        pod("ns/b", &["10.1.0.3"], "app=other").into(),
        workload_entry("ns/vm", "10.2.0.1", "app=db").into(),
        workload_entry("ns/named", "ep.example", "app=db").into(),
        workload(1, "ns", ""),
    ]
}

fn rules_of(
    objects: impl IntoIterator<Item = Object>,
    settings: Settings,
) -> std::collections::BTreeSet<String> {
    let objects = objects.into_iter().map(Update::Apply);
    let mut registry = world(settings, surroundings().into_iter().chain(objects));
    allowed(&mut registry, 1)
}

fn matching(matching: Matching) -> Settings {
    Settings {
        matching,
        ..Settings::default()
    }
}

/// Checks an entry in both matchings, once with each protocol for its port 443.
fn check(
    protocols: &[Protocol],
    build: impl Fn(ServiceEntry) -> ServiceEntry,
    declared: &[&str],
    istio: &[&str],
) {
    for protocol in protocols {
        let object = build(entry("ns/e", "h.example", &[(443, *protocol)]));
        for (kind, expected) in [(Matching::Declared, declared), (Matching::Istio, istio)] {
            let rules = rules_of([object.clone().into()], matching(kind));
            assert_eq!(rules, set(expected), "{kind:?}, {protocol:?}: {object:?}");
        }
    }
}

fn with(resolution: Resolution) -> impl Fn(ServiceEntry) -> ServiceEntry {
    move |entry| entry.resolution(resolution)
}

/// With an endpoint where it needs one.
fn served(entry: ServiceEntry) -> ServiceEntry {
    match entry.resolution {
        Resolution::Static => entry.endpoints(&["203.0.113.5"]),
        _ => entry,
    }
}

/// Nothing answers there in Istio; but the listener of an HTTP port takes requests for others.
#[test]
fn static_entry_without_endpoints_grants_nothing() {
    let builds: [fn(ServiceEntry) -> ServiceEntry; 2] = [
        |e| e.resolution(Resolution::Static),
        |e| e.resolution(Resolution::Static).addresses(&[V4]),
    ];
    for build in builds {
        check(TCP, build, &[], &[]);
        check(TLS, build, &[], &[]);
        check(HTTP, build, &[], ANY);
    }
}

fn join<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    parts.concat()
}

const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8:1::7";
const IPS: &[&str] = &["tcp 198.51.100.7:443", "tcp [2001:db8:1::7]:443"];
const NETS: &[&str] = &["tcp 198.51.100.0/24:443", "tcp 2001:db8:2::/64:443"];
const NETWORKS: &[&str] = &["198.51.100.0/24", "2001:db8:2::/64"];
const ENDPOINTS: &[&str] = &["tcp 203.0.113.5:443", "tcp [2001:db8:3::5]:443"];
const SELECTED: &[&str] = &["tcp 10.1.0.1:443", "tcp [fd00::1]:443", "tcp 10.2.0.1:443"];
const NAMED: &[&str] = &["tcp 192.0.2.9:443", "tcp ep.example:443"];

#[test]
fn d1_http_none() {
    check(HTTP, with(Resolution::None), HOST, ANY);
    check(HTTP, |e| e.addresses(&[V4, V6]), IPS, ANY);
    check(HTTP, |e| e.addresses(NETWORKS), NETS, ANY);
}

#[test]
fn d2_http_static() {
    let statically = |e: ServiceEntry| {
        e.resolution(Resolution::Static)
            .endpoints(&["203.0.113.5", "2001:db8:3::5"])
    };
    check(HTTP, statically, &join(&[HOST, ENDPOINTS]), ANY);
    check(
        HTTP,
        |e| statically(e).addresses(&[V4, V6]),
        &join(&[HOST, ENDPOINTS, IPS]),
        ANY,
    );
}

#[test]
fn d3_http_dns() {
    for resolution in [Resolution::Dns, Resolution::DnsRoundRobin] {
        check(HTTP, with(resolution), HOST, ANY);
        let named = |e: ServiceEntry| e.resolution(resolution).endpoints(&["ep.example"]);
        check(HTTP, named, &join(&[HOST, NAMED]), ANY);
        check(
            HTTP,
            |e| named(e).addresses(&[V4, V6]),
            &join(&[HOST, NAMED, IPS]),
            ANY,
        );
    }
}

#[test]
fn d4_dynamic_dns_follows_the_names_that_are_seen_under_the_wildcard() {
    for protocol in [Protocol::Http, Protocol::Tls] {
        let object = || entry("ns/e", "*.example", &[(443, protocol)]).resolution(Resolution::DynamicDns);
        let declared = rules_of([object().into()], matching(Matching::Declared));
        let addresses = ["tcp 192.0.2.1:443", "tcp [2001:db8::1]:443", "tcp 192.0.2.9:443"];
        assert_eq!(declared, set(&join(&[&addresses, &["tcp *.example:443"]])));
        assert_eq!(rules_of([object().into()], matching(Matching::Istio)), set(ANY));
    }
    let elsewhere =
        entry("ns/e", "*.other.example", &[(443, Protocol::Tls)]).resolution(Resolution::DynamicDns);
    assert_eq!(
        rules_of([elsewhere.into()], Settings::default()),
        set(&["tcp *.other.example:443"])
    );
}

#[test]
fn http_ports_that_the_proxy_keeps_to_itself_are_reached_by_nobody() {
    for number in [15001, 15006, 15021, 15090] {
        for kind in [Matching::Declared, Matching::Istio] {
            let http = entry("ns/e", "h.example", &[(number, Protocol::Http)]).addresses(&[V4]);
            assert_eq!(rules_of([http.into()], matching(kind)), set(&[]));
            let tcp = entry("ns/e", "h.example", &[(number, Protocol::Tcp)]).addresses(&[V4]);
            assert_eq!(
                rules_of([tcp.into()], matching(kind)),
                set(&[&format!("tcp {V4}:{number}")])
            );
        }
    }
}

#[test]
fn d5_tls_none_without_address() {
    check(TLS, with(Resolution::None), HOST, ANY);
}

#[test]
fn d6_tls_resolved_without_address() {
    check(TLS, with(Resolution::Dns), HOST, ANY);
    let statically = |e: ServiceEntry| {
        e.resolution(Resolution::Static)
            .endpoints(&["203.0.113.5", "2001:db8:3::5"])
    };
    check(TLS, statically, &join(&[HOST, ENDPOINTS]), ANY);
}

#[test]
fn d7_d8_tls_with_addresses() {
    for resolution in [Resolution::None, Resolution::Static, Resolution::Dns] {
        check(
            TLS,
            |e| served(with(resolution)(e)).addresses(&[V4, V6]),
            IPS,
            IPS,
        );
    }
    for resolution in [Resolution::None, Resolution::Static] {
        check(
            TLS,
            |e| served(with(resolution)(e)).addresses(NETWORKS),
            NETS,
            NETS,
        );
    }
}

#[test]
fn d9_tcp_none_without_address_is_any_address() {
    check(TCP, with(Resolution::None), ANY, ANY);
}

#[test]
fn d10_tcp_resolved_without_address() {
    check(TCP, with(Resolution::Dns), HOST, ANY);
    let named = |e: ServiceEntry| e.resolution(Resolution::Dns).endpoints(&["ep.example"]);
    check(TCP, named, &join(&[HOST, NAMED]), ANY);
    let statically = |e: ServiceEntry| {
        e.resolution(Resolution::Static)
            .endpoints(&["203.0.113.5", "2001:db8:3::5"])
    };
    check(TCP, statically, &join(&[HOST, ENDPOINTS]), ANY);
}

#[test]
fn d11_d12_tcp_with_addresses() {
    for resolution in [Resolution::None, Resolution::Static, Resolution::Dns] {
        check(
            TCP,
            |e| served(with(resolution)(e)).addresses(&[V4, V6]),
            IPS,
            IPS,
        );
    }
    for resolution in [Resolution::None, Resolution::Static] {
        check(
            TCP,
            |e| served(with(resolution)(e)).addresses(NETWORKS),
            NETS,
            NETS,
        );
    }
}

#[test]
fn d13_unset_without_address() {
    check(AUTO, with(Resolution::None), ANY, ANY);
    check(AUTO, with(Resolution::Dns), HOST, ANY);
}

#[test]
fn d14_unset_with_addresses() {
    check(AUTO, |e| e.addresses(&[V4, V6]), IPS, IPS);
    check(AUTO, |e| e.addresses(NETWORKS), NETS, &join(&[NETS, ANY]));
}

#[test]
fn d15_selector_with_none_is_the_selected_workloads() {
    for protocols in [TCP, TLS, AUTO] {
        check(protocols, |e| e.selector("app=db"), SELECTED, SELECTED);
        check(protocols, |e| e.selector("app=none"), &[], &[]);
    }
    // An HTTP port has no such row: its selector changes nothing.
    check(HTTP, |e| e.selector("app=db"), HOST, ANY);
}

#[test]
fn d15b_selector_with_resolution_adds_the_selected_to_the_row() {
    let statically = |e: ServiceEntry| e.resolution(Resolution::Static).selector("app=db");
    let dns = |e: ServiceEntry| e.resolution(Resolution::Dns).selector("app=db");
    for protocols in [HTTP, TLS, TCP, AUTO] {
        check(protocols, statically, &join(&[HOST, SELECTED]), ANY);
        check(protocols, dns, &join(&[HOST, SELECTED, NAMED]), ANY);
    }
    check(TCP, |e| statically(e).addresses(&[V4, V6]), IPS, IPS);
}

#[test]
fn d16_udp_follows_the_configuration() {
    let udp = |policy| Settings {
        udp: policy,
        resolvers: [crate::test_support::ip("192.0.2.53")].into(),
        ..Settings::default()
    };
    type Build<'a> = &'a dyn Fn(ServiceEntry) -> ServiceEntry;
    let object = |build: Build<'_>| -> [Object; 1] {
        [build(entry("ns/e", "h.example", &[(443, Protocol::Udp)])).into()]
    };
    let dns = ["tcp 192.0.2.53:53", "udp 192.0.2.53:53"];
    let cases: [(Build<'_>, &[&str]); 4] = [
        (&|e| e, &["udp *:443"]),
        (&|e| e.addresses(&[V4]), &["udp 198.51.100.7:443"]),
        (
            &|e| e.resolution(Resolution::Dns),
            &["udp 192.0.2.1:443", "udp [2001:db8::1]:443", "udp h.example:443"],
        ),
        (&|e| e.selector("app=other"), &["udp 10.1.0.3:443"]),
    ];
    for (build, expected) in cases {
        let rules = rules_of(object(build), udp(UdpPolicy::Registry));
        assert_eq!(rules, set(&join(&[expected, &dns])));
        for policy in [UdpPolicy::Allow, UdpPolicy::DnsOnly] {
            assert_eq!(rules_of(object(build), udp(policy)), set(&dns));
        }
    }
}

#[test]
fn udp_is_allowed_to_anywhere_only_if_configured_so() {
    for (udp, expected) in [
        (UdpPolicy::Registry, false),
        (UdpPolicy::Allow, true),
        (UdpPolicy::DnsOnly, false),
    ] {
        let settings = Settings {
            udp,
            ..Settings::default()
        };
        let mut registry = world(settings, [workload(1, "ns", "")]);
        assert_eq!(crate::test_support::policy(&mut registry, 1).allows_udp, expected);
    }
}

#[test]
fn d17_unix_endpoint_allows_nothing_that_is_declared() {
    let unix = |e: ServiceEntry| {
        e.resolution(Resolution::Static)
            .endpoints(&["unix:///run/x.sock"])
    };
    check(TCP, unix, &[], ANY);
    check(TCP, |e| unix(e).addresses(&[V4, V6]), &[], IPS);
}

#[test]
fn unspecified_address_is_no_address() {
    for address in ["0.0.0.0", "::"] {
        check(TCP, |e| e.addresses(&[address]), ANY, ANY);
        check(TLS, |e| e.addresses(&[address]), HOST, ANY);
        check(HTTP, |e| e.addresses(&[address]), HOST, ANY);
    }
    check(
        TLS,
        |e| e.addresses(&["::", V4, V6]),
        &join(&[HOST, IPS]),
        &join(&[ANY, IPS]),
    );
}

#[test]
fn network_of_everything_is_enforced_as_it_is_written() {
    check(
        TCP,
        |e| e.addresses(&["0.0.0.0/0"]),
        &["tcp 0.0.0.0/0:443"],
        &["tcp 0.0.0.0/0:443"],
    );
    check(
        TCP,
        |e| e.addresses(&["0.0.0.0/8"]),
        &["tcp 0.0.0.0/8:443"],
        &["tcp 0.0.0.0/8:443"],
    );
}

#[test]
fn mapped_address_is_the_ipv4_address() {
    let mapped = ["::ffff:198.51.100.7", V6];
    check(TCP, |e| e.addresses(&mapped), IPS, IPS);
}

#[test]
fn target_port_and_endpoint_ports_never_widen() {
    let object = |mut e: ServiceEntry| {
        e.ports[0].target = Some(8443);
        let mut e = e
            .resolution(Resolution::Static)
            .endpoints(&["203.0.113.5", "2001:db8:3::5"]);
        for endpoint in &mut e.endpoints {
            endpoint.ports.insert("tls-443".to_owned(), 9443);
        }
        e
    };
    check(TLS, object, &join(&[HOST, ENDPOINTS]), ANY);
}

#[test]
fn allocated_addresses_are_allowed_beside_the_row() {
    let allocated = |e: ServiceEntry| {
        e.resolution(Resolution::Dns)
            .allocated("h.example", "240.240.0.1")
            .allocated("h.example", "2001:2::1")
            .allocated("not-a-host.example", "240.240.0.2")
    };
    let vips: &[&str] = &["tcp 240.240.0.1:443", "tcp [2001:2::1]:443"];
    check(TCP, allocated, &join(&[HOST, vips]), &join(&[ANY, vips]));
}

#[test]
fn entry_without_ports_allows_nothing() {
    let object = entry("ns/e", "h.example", &[]).addresses(&[V4]);
    assert_eq!(rules_of([object.into()], Settings::default()), set(&[]));
}

#[test]
fn unhealthy_workload_entry_is_not_selected() {
    let mut sick = workload_entry("ns/vm", "10.2.0.1", "app=vm");
    sick.healthy = false;
    let object = entry("ns/e", "h.example", &[(443, Protocol::Tcp)]).selector("app=vm");
    assert_eq!(
        rules_of([sick.into(), object.into()], Settings::default()),
        set(&[])
    );
}

#[test]
fn labels_of_metadata_and_spec_select_a_workload_entry_and_the_metadata_comes_first() {
    let mut vm = workload_entry("ns/vm", "10.2.0.1", "tier=a");
    vm.meta.labels = crate::test_support::labels("app=vm,tier=b");
    let select = |selector| -> [Object; 2] {
        let object = entry("ns/e", "h.example", &[(443, Protocol::Tcp)]).selector(selector);
        [vm.clone().into(), object.into()]
    };
    let found = set(&["tcp 10.2.0.1:443"]);
    assert_eq!(rules_of(select("app=vm,tier=b"), Settings::default()), found);
    assert_eq!(rules_of(select("app=vm,tier=a"), Settings::default()), set(&[]));
}

#[test]
fn workload_entry_of_another_revision_is_not_selected() {
    let mut vm = workload_entry("ns/vm", "10.2.0.1", "app=vm");
    vm.meta.labels = crate::test_support::labels("istio.io/rev=stable");
    let object = entry("ns/e", "h.example", &[(443, Protocol::Tcp)]).selector("app=vm");
    let settings = Settings {
        revision: "canary".to_owned(),
        ..Settings::default()
    };
    let objects = || [vm.clone().into(), object.clone().into()];
    assert_eq!(rules_of(objects(), settings), set(&[]));
    assert_eq!(
        rules_of(objects(), Settings::default()),
        set(&["tcp 10.2.0.1:443"])
    );
}

#[test]
fn empty_selector_selects_the_whole_namespace() {
    let object = entry("ns/e", "h.example", &[(443, Protocol::Tcp)]).selector("");
    let expected = join(&[SELECTED, &["tcp 10.1.0.3:443"]]);
    assert_eq!(rules_of([object.into()], Settings::default()), set(&expected));
}

#[test]
fn cluster_ip_is_allowed_in_both_families_at_the_service_port() {
    let mut http = service(
        "ns/s",
        cluster_ip(&["10.96.0.1", "fd00:96::1"]),
        &[(80, Protocol::Http), (53, Protocol::Udp)],
    );
    http.ports[0].target = Some(8080);
    let udp: &[&str] = &["udp 10.96.0.1:53", "udp [fd00:96::1]:53"];
    let tcp: &[&str] = &["tcp 10.96.0.1:80", "tcp [fd00:96::1]:80"];
    let rules = |kind| rules_of([http.clone().into()], matching(kind));
    assert_eq!(rules(Matching::Declared), set(&join(&[tcp, udp])));
    assert_eq!(rules(Matching::Istio), set(&join(&[&["tcp *:80"], udp])));
}

#[test]
fn tcp_service_is_its_cluster_ip_in_both_matchings() {
    let db = service("ns/s", cluster_ip(&["10.96.0.1"]), &[(5432, Protocol::Tcp)]);
    for kind in [Matching::Declared, Matching::Istio] {
        assert_eq!(
            rules_of([db.clone().into()], matching(kind)),
            set(&["tcp 10.96.0.1:5432"])
        );
    }
}

#[test]
fn headless_service_is_its_endpoints_at_the_service_port() {
    let object = |protocol| -> Vec<Object> {
        vec![
            service("ns/s", ServiceKind::Headless, &[(443, protocol)]).into(),
            slice("ns/s-1", "s", &["10.3.0.1"]).into(),
            slice("ns/s-2", "s", &["fd00:3::1"]).into(),
            slice("ns/t-1", "t", &["10.3.0.2"]).into(),
            slice("elsewhere/s-1", "s", &["10.3.0.3"]).into(),
        ]
    };
    let expected = set(&["tcp 10.3.0.1:443", "tcp [fd00:3::1]:443"]);
    for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Auto] {
        for kind in [Matching::Declared, Matching::Istio] {
            assert_eq!(rules_of(object(protocol), matching(kind)), expected);
        }
    }
    assert_eq!(
        rules_of(object(Protocol::Http), matching(Matching::Declared)),
        expected
    );
    assert_eq!(
        rules_of(object(Protocol::Http), matching(Matching::Istio)),
        set(ANY)
    );
}

#[test]
fn headless_service_without_endpoints_allows_nothing() {
    let object = service("ns/s", ServiceKind::Headless, &[(443, Protocol::Tcp)]);
    assert_eq!(rules_of([object.into()], Settings::default()), set(&[]));
}

#[test]
fn external_name_works_if_its_target_is_registered() {
    let alias = || {
        service(
            "ns/s",
            ServiceKind::ExternalName(crate::model::Host::new("h.example")),
            &[(443, Protocol::Tcp)],
        )
    };
    assert_eq!(rules_of([alias().into()], Settings::default()), set(&[]));
    let target = entry("ns/e", "h.example", &[(443, Protocol::Tcp)]).resolution(Resolution::Dns);
    assert_eq!(
        rules_of([alias().into(), target.into()], Settings::default()),
        set(HOST)
    );
}

#[test]
fn every_port_of_an_entry_counts_by_its_own_protocol() {
    let mut object = entry("ns/e", "h.example", &[(443, Protocol::Tls)]);
    object.ports.push(port(5432, Protocol::Tcp));
    assert_eq!(
        rules_of([object.into()], Settings::default()),
        set(&join(&[HOST, &["tcp *:5432"]]))
    );
}
