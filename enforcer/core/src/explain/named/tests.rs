//! By name: what is allowed at whatever address, what is not, and why.

use super::*;
use crate::{
    capacity::Capacities,
    istio::{OutboundMode, Resolution, ServiceEntry},
    model::{CgroupId, Destination, Namespace, Protocol, Verdict},
    plan::{Applied, diff},
    policy::fit,
    registry::Update,
    settings::{Settings, UdpPolicy},
    test_support::{egress, entry, ip, labels, resolved, sidecar, world},
};

fn workload() -> Workload {
    Workload::new(Namespace::new("frontend"), "web", labels("app=web"))
}

/// `host:port`, `udp ` in front of it asks for UDP.
fn named(to: &str) -> Named {
    let (transport, to) = match to.strip_prefix("udp ") {
        Some(rest) => (Transport::Udp, rest),
        None => (Transport::Tcp, to),
    };
    let (host, port) = to.split_once(':').unwrap();
    Named {
        transport,
        host: Host::new(host),
        port: port.parse().unwrap(),
    }
}

fn explain(settings: Settings, updates: impl IntoIterator<Item = Update>, to: &str) -> Explanation {
    world(settings, updates).explain_named(&workload(), &named(to))
}

fn check(updates: impl IntoIterator<Item = Update>, to: &str, expected: &str) {
    let explanation = explain(Settings::default(), updates, to);
    assert_eq!(explanation.to_string(), expected);
    assert_eq!(explanation.suggestion.is_none(), explanation.why.is_permission());
}

/// TLS on 443 to every name below `example.com`.
fn wild(id: &str) -> ServiceEntry {
    entry(id, "*.example.com", &[(443, Protocol::Tls)])
}

fn deaf() -> Settings {
    Settings {
        learns: false,
        ..Settings::default()
    }
}

#[test]
fn name_below_a_wildcard_is_allowed_by_the_wildcard() {
    let updates = || [wild("frontend/wild").into()];
    check(
        updates(),
        "api.example.com:443",
        "allowed by ServiceEntry frontend/wild port tls-443 (*.example.com, at any address that a trusted resolver gives \
         it for api.example.com)",
    );
    let explanation = explain(Settings::default(), updates(), "api.example.com:443");
    assert_eq!(explanation.matched[0].host, Host::new("*.example.com"));
    check(
        updates(),
        "example.com:443",
        "denied: no ServiceEntry or Service has the host example.com",
    );
}

#[test]
fn registered_name_that_does_not_resolve_is_allowed_by_its_entry() {
    let db = entry("frontend/db", "db.example.com", &[(5432, Protocol::Tcp)]).resolution(Resolution::Dns);
    let updates = || [db.clone().into()];
    check(
        updates(),
        "db.example.com:5432",
        "allowed by ServiceEntry frontend/db port tcp-5432 (at any address that a trusted resolver gives it for \
         db.example.com)",
    );
    check(
        updates(),
        "db.example.com:5433",
        "denied: host known, port 5433 not declared, nearest 5432 (ServiceEntry frontend/db, db.example.com)",
    );
    check(
        updates(),
        "udp db.example.com:5432",
        "denied: ServiceEntry frontend/db declares port 5432, but not for UDP",
    );
    let by_the_daemon = explain(deaf(), updates(), "db.example.com:5432");
    assert_eq!(
        by_the_daemon.to_string(),
        "allowed by ServiceEntry frontend/db port tcp-5432 (at any address that the enforcer resolves db.example.com to)"
    );
}

#[test]
fn wildcard_allows_nothing_where_nothing_is_learned() {
    let explanation = explain(deaf(), [wild("frontend/wild").into()], "api.example.com:443");
    assert_eq!(explanation.verdict, Verdict::Deny);
    assert_eq!(
        explanation.to_string(),
        "denied: ServiceEntry frontend/wild has *.example.com, but a wildcard allows nothing where no addresses are \
         learned (dns.learn.enabled)"
    );
    assert!(
        explanation
            .suggestion
            .unwrap()
            .contains("register api.example.com")
    );
}

#[test]
fn wildcard_has_the_addresses_of_names_below_it_that_the_enforcer_resolves() {
    let api = entry("other/api", "api.example.com", &[(80, Protocol::Http)])
        .resolution(Resolution::Dns)
        .export(&["."]);
    let other = Workload::new(Namespace::new("other"), "api", labels(""));
    let updates = [
        wild("frontend/wild").into(),
        api.into(),
        Update::Workload(CgroupId(1), other),
    ];
    let explanation = explain(deaf(), updates, "api.example.com:443");
    assert_eq!(
        explanation.to_string(),
        "allowed by ServiceEntry frontend/wild port tls-443 (at any address that the enforcer resolves api.example.com to)"
    );
}

#[test]
fn name_that_nobody_registers_is_to_be_registered() {
    let explanation = explain(Settings::default(), [], "api.stripe.example:443");
    assert_eq!(explanation.verdict, Verdict::Deny);
    assert_eq!(
        explanation.suggestion.unwrap(),
        "a ServiceEntry in namespace frontend for host api.stripe.example, port 443 with protocol TCP"
    );
}

#[test]
fn name_of_another_namespace_or_behind_a_sidecar_is_told_as_an_address_is() {
    check(
        [wild("default/wild").export(&["."]).into()],
        "api.example.com:443",
        "denied: ServiceEntry default/wild is not exported to frontend",
    );
    let only_own = sidecar("frontend/default", vec![egress(&["./*"])]);
    check(
        [wild("default/wild").into(), only_own.into()],
        "api.example.com:443",
        "denied: Sidecar frontend/default does not import it (*.example.com of ServiceEntry default/wild)",
    );
}

#[test]
fn entry_with_addresses_allows_the_name_only_there() {
    let network = wild("a/net").addresses(&["198.51.100.0/24"]);
    check(
        [network.into()],
        "api.example.com:443",
        "denied: ServiceEntry a/net allows *.example.com only at the addresses that it declares",
    );
}

#[test]
fn what_is_allowed_at_any_address_is_allowed_by_any_name() {
    let any = entry("a/any", "any.example", &[(5432, Protocol::Tcp)]);
    check(
        [any.into()],
        "other.example:5432",
        "allowed by ServiceEntry a/any port tcp-5432 (any address)",
    );
    let udp = Settings {
        udp: UdpPolicy::Allow,
        ..Settings::default()
    };
    let explanation = explain(udp, [], "udp time.example:123");
    assert_eq!(
        explanation.to_string(),
        "allowed by the configuration (udp: allow)"
    );
}

#[test]
fn mode_decides_what_becomes_of_a_name_that_is_not_registered() {
    let any = Settings {
        mode: OutboundMode::AllowAny,
        ..Settings::default()
    };
    let explanation = explain(any, [], "api.example.com:443");
    assert_eq!(explanation.verdict, Verdict::Allow);
    assert!(!explanation.why.is_permission());
    let audit = Settings {
        audit: true,
        ..Settings::default()
    };
    assert_eq!(explain(audit, [], "api.example.com:443").verdict, Verdict::Audit);
}

#[test]
fn address_for_which_no_name_may_stand_is_given_for_no_host() {
    let protected = Settings {
        protected: ["169.254.0.0/16".parse().unwrap()].into(),
        ..Settings::default()
    };
    let mut registry = world(protected, [wild("frontend/wild").into()]);
    let name = Host::new("api.example.com");
    assert!(registry.given_for(&name, ip("::ffff:169.254.169.254")).is_empty());
    let given = registry.given_for(&name, ip("192.0.2.1"));
    let to = |address| Destination::new(Transport::Tcp, ip(address), 443);
    let at = registry.explain_for(&workload(), to("192.0.2.1"), &given);
    assert_eq!(at.verdict, Verdict::Allow);
    assert!(world(deaf(), []).given_for(&name, ip("192.0.2.1")).is_empty());
}

#[test]
fn answer_that_an_entry_does_not_have_is_told_as_another_address_of_its_host() {
    let fixed = entry("a/fixed", "fixed.example", &[(80, Protocol::Tcp)]).addresses(&["192.0.2.1"]);
    let mut registry = world(Settings::default(), [fixed.into()]);
    let to = Destination::new(Transport::Tcp, ip("192.0.2.2"), 80);
    let given = registry.given_for(&Host::new("fixed.example"), to.address);
    assert_eq!(
        registry.explain_for(&workload(), to, &given).to_string(),
        "denied: ServiceEntry a/fixed has the host fixed.example, but not at this address"
    );
}

#[test]
fn what_the_maps_do_not_hold_is_denied_by_name_too() {
    let cgroup = CgroupId(1);
    let mut registry = world(
        Settings::default(),
        [wild("frontend/wild").into(), Update::Workload(cgroup, workload())],
    );
    let desired = (*registry.desired()).clone();
    let to = named("api.example.com:443");
    let explanation = registry.explain_named(&workload(), &to);
    let verdict = |capacities: Capacities| {
        let fitted = fit(desired.clone(), &capacities).0;
        let held = diff(&Applied::default(), &fitted).after;
        explanation.clone().as_held_by_name(&held, (cgroup, &to)).verdict
    };
    let whole = Capacities::default();
    assert_eq!(verdict(whole), Verdict::Allow);
    assert_eq!(verdict(Capacities { hosts: 0, ..whole }), Verdict::Deny);
    assert_eq!(
        verdict(Capacities {
            workloads: 0,
            ..whole
        }),
        Verdict::Deny
    );
    let nothing = resolved("api.example.com", &["192.0.2.1"]);
    registry.apply(nothing);
    assert_eq!(registry.explain_named(&workload(), &to), explanation);
}

#[test]
fn addresses_that_are_declared_for_a_name_are_those_of_all_hosts_that_cover_it() {
    let updates = [
        wild("a/net").addresses(&["198.51.100.0/24"]).into(),
        entry("a/api", "api.example.com", &[(443, Protocol::Tls)])
            .addresses(&["192.0.2.1"])
            .into(),
        resolved("api.example.com", &["192.0.2.2"]),
    ];
    let declared = world(Settings::default(), updates).declared_for(&Host::new("api.example.com"));
    let texts: Vec<_> = declared.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["192.0.2.1/32", "198.51.100.0/24"]);
}
