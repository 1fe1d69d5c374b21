use std::collections::BTreeSet;

use super::{Options, Sources, Suggestions, suggest};
use crate::{
    documents::Documents,
    istio::{Object, Resolution},
    model::{CgroupId, Host, Protocol},
    observed::{Carrier, Observation, Seen},
    registry::{Registry, Update},
    settings::{Matching, Settings, UdpPolicy},
    test_support::{entry, ip, service, workload},
};

/// `frontend/web tcp db.example.com:5432 192.0.2.1`, refused; without a host, the address alone.
fn seen(text: &str) -> Observation {
    let mut words = text.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (who, transport, target) = (next(), next(), next());
    let (namespace, name) = who.split_once('/').unwrap();
    let (host, port) = target.rsplit_once(':').unwrap();
    let addresses: Vec<_> = words.map(ip).collect();
    let (host, addresses) = match host.trim_matches(['[', ']']).parse() {
        Ok(address) => (None, vec![address]),
        Err(_) => (Some(host.to_owned()), addresses),
    };
    Observation {
        namespace: namespace.to_owned(),
        workload: name.to_owned(),
        host,
        addresses,
        port: port.parse().unwrap(),
        transport: if transport == "udp" {
            Carrier::Udp
        } else {
            Carrier::Tcp
        },
        verdict: Seen::Deny,
        probe: false,
        object: None,
        reason: None,
        suggestion: None,
        first: "2026-11-01T08:00:00.123Z".parse().unwrap(),
        last: "2026-11-22T14:03:11Z".parse().unwrap(),
        count: 12,
    }
}

fn registry(settings: Settings, objects: impl IntoIterator<Item = Update>) -> Registry {
    let mut registry = Registry::new(settings);
    objects.into_iter().for_each(|object| registry.apply(object));
    registry
}

fn of(registry: Registry, texts: &[&str]) -> Suggestions {
    let observations: Vec<_> = texts.iter().map(|text| seen(text)).collect();
    suggest(registry, &observations, (&Options::default(), Sources::default()))
}

fn alone(texts: &[&str]) -> Suggestions {
    of(Registry::new(Settings::default()), texts)
}

/// The objects of a file, and how they are written.
fn written(text: &str) -> (Vec<Update>, Sources) {
    let mut sources = Sources::default();
    sources.add(text);
    (Documents::default().set("registry.yaml", Some(text)), sources)
}

#[test]
fn host_has_one_object_with_all_its_ports() {
    let suggestions = alone(&[
        "frontend/web tcp api.example.com:443 192.0.2.1",
        "frontend/cron tcp api.example.com:443 192.0.2.2",
        "frontend/web tcp api.example.com:8443 192.0.2.1",
    ]);
    assert_eq!(
        suggestions.yaml(),
        "\
# 1 new ServiceEntry and 0 changes of present ones.
---
# frontend/cron: tcp 443, 12 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)
# frontend/web: tcp 443, 12 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)
# frontend/web: tcp 8443, 12 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: api-example-com
  namespace: frontend
spec:
  hosts:
  - api.example.com
  resolution: DNS
  location: MESH_EXTERNAL
  ports:
  - number: 443
    name: tls-443
    protocol: TLS
  - number: 8443
    name: tcp-8443
    protocol: TCP
  exportTo:
  - \".\"
"
    );
}

#[test]
fn namespaces_that_use_the_same_ports_share_an_object() {
    let mut often = seen("orders/api tcp db.example.com:5432 192.0.2.1");
    often.count = 40;
    let observations = [
        often,
        seen("frontend/web tcp db.example.com:5432 192.0.2.1"),
        seen("audit/log tcp db.example.com:5432 192.0.2.1"),
        seen("audit/log tcp db.example.com:22 192.0.2.1"),
    ];
    let registry = Registry::new(Settings::default());
    let suggestions = suggest(registry, &observations, (&Options::default(), Sources::default()));
    let shape = |entry: &super::Entry| {
        let ports = entry.document["spec"]["ports"].as_array().unwrap().len();
        format!("{} {ports} {}", entry.id, entry.document["spec"]["exportTo"])
    };
    let shapes: Vec<_> = suggestions.entries.iter().map(shape).collect();
    // Where one namespace uses another port, that is not for the others.
    assert_eq!(
        shapes,
        [
            r#"ServiceEntry audit/db-example-com 2 ["."]"#,
            r#"ServiceEntry orders/db-example-com 1 [".","frontend"]"#
        ]
    );
}

#[test]
fn addresses_without_a_name_are_put_together_by_ports_and_users() {
    let suggestions = alone(&[
        "frontend/web tcp 192.0.2.7:5432",
        "frontend/web tcp 192.0.2.8:5432",
        "frontend/web tcp [2001:db8::1]:5432",
        "frontend/web tcp 192.0.2.9:22",
    ]);
    let text = suggestions.yaml();
    assert_eq!(suggestions.entries.len(), 2, "{text}");
    assert!(text.contains("# By address: no name was seen. The host never resolves (RFC 2606).\n"));
    assert!(text.contains("  name: \"192-0-2-7-and-2-more\"\n"), "{text}");
    assert!(text.contains(
        "  - \"192-0-2-7.invalid\"\n  addresses:\n  - \"192.0.2.7\"\n  - \"192.0.2.8\"\n  - \"2001:db8::1\"\n"
    ));
}

#[test]
fn number_that_both_transports_use_needs_two_objects() {
    let suggestions = alone(&[
        "frontend/web tcp ns.example.com:53 192.0.2.1",
        "frontend/web udp ns.example.com:53 192.0.2.1",
    ]);
    let names: Vec<_> = suggestions
        .entries
        .iter()
        .map(|entry| entry.id.name.as_str())
        .collect();
    assert_eq!(names, ["ns-example-com", "ns-example-com-2"]);
    assert!(suggestions.notes.is_empty(), "{}", suggestions.yaml());
}

#[test]
fn probe_counts_only_where_nothing_else_was_sent() {
    let probe = |text: &str| Observation {
        probe: true,
        ..seen(text)
    };
    let beside = [
        probe("frontend/web udp api.example.com:443 192.0.2.1"),
        seen("frontend/web tcp api.example.com:443 192.0.2.1"),
    ];
    let run = |observations: &[Observation]| {
        let registry = Registry::new(Settings::default());
        suggest(registry, observations, (&Options::default(), Sources::default()))
    };
    assert!(!run(&beside).yaml().contains("UDP"));
    let alone = run(&beside[..1]).yaml();
    assert!(
        alone.contains("protocol: UDP") && alone.contains("a connected datagram socket that sent nothing"),
        "{alone}"
    );
    // The other one need not be suggested for.
    let mut allowed = beside.clone();
    allowed[1].verdict = Seen::Allow;
    assert!(run(&allowed).entries.is_empty());
}

#[test]
fn istio_matching_needs_addresses_and_no_http() {
    let settings = Settings {
        matching: Matching::Istio,
        ..Settings::default()
    };
    let text = of(
        Registry::new(settings),
        &["frontend/web tcp api.example.com:80 192.0.2.1"],
    )
    .yaml();
    assert!(
        text.contains("# With the addresses that were seen: under the matching `istio`, any address"),
        "{text}"
    );
    assert!(text.contains("  - api.example.com\n  addresses:\n  - \"192.0.2.1\"\n  resolution: NONE\n"));
    assert!(text.contains("protocol: TCP"), "{text}");
}

#[test]
fn protected_address_is_declared_beside_its_name() {
    let settings = Settings {
        protected: ["169.254.0.0/16".parse().unwrap()].into(),
        ..Settings::default()
    };
    let text = of(
        Registry::new(settings),
        &["frontend/web tcp metadata.example:80 169.254.169.254"],
    )
    .yaml();
    assert!(
        text.contains("what metadata.example resolves to would not allow them"),
        "{text}"
    );
    assert!(text.contains("addresses:\n  - \"169.254.169.254\"\n"), "{text}");
}

const DB: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: db
  namespace: frontend
  labels: {team: shop}
  creationTimestamp: 2026-01-01T00:00:00Z
spec:
  hosts: [db.example.com]
  resolution: DNS
  ports:
  - {number: 5432, name: postgres, protocol: TCP}
  exportTo: ['.']
";

#[test]
fn port_that_is_missing_is_added_to_the_object_that_has_the_host() {
    let (updates, sources) = written(DB);
    let observations = [seen("frontend/web tcp db.example.com:6432 192.0.2.1")];
    let suggestions = suggest(
        registry(Settings::default(), updates),
        &observations,
        (&Options::default(), sources),
    );
    assert_eq!(
        suggestions.yaml(),
        "\
# 0 new ServiceEntries and 1 change of present ones.
---
# ServiceEntry frontend/db, changed:
#   spec:
#     ports:
#     - number: 5432
#       name: postgres
#       protocol: TCP
# +   - number: 6432
# +     name: tcp-6432
# +     protocol: TCP
# frontend/web: tcp 6432, 12 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: db
  namespace: frontend
  labels:
    team: shop
spec:
  hosts:
  - db.example.com
  resolution: DNS
  ports:
  - number: 5432
    name: postgres
    protocol: TCP
  - number: 6432
    name: tcp-6432
    protocol: TCP
  exportTo:
  - \".\"
"
    );
}

#[test]
fn object_whose_text_is_not_known_is_patched() {
    let (updates, _) = written(DB);
    let suggestions = of(
        registry(Settings::default(), updates),
        &[
            "orders/api tcp db.example.com:5432 192.0.2.1",
            "frontend/web tcp db.example.com:6432 192.0.2.1",
        ],
    );
    let text = suggestions.yaml();
    assert_eq!(
        (suggestions.entries.len(), suggestions.changes.len()),
        (0, 1),
        "{text}"
    );
    // The object is one, so that the other port is for both.
    let users: Vec<_> = text
        .lines()
        .filter(|line| line.contains("It is exported") || line.contains("12 times"))
        .collect();
    assert_eq!(users.len(), 3, "{text}");
    assert_eq!(users[1], "# It is exported to orders, who may then do the same.");
    let suggestions = of(
        registry(Settings::default(), written(DB).0),
        &["orders/api tcp db.example.com:5432 192.0.2.1"],
    );
    assert!(
        suggestions.yaml().contains(
            "# Its text is not among the files, so that this does it:\n\
             # kubectl patch serviceentry -n frontend db --type merge -p '{\"spec\":{\"exportTo\":[\".\",\"orders\"]}}'\n"
        ),
        "{}",
        suggestions.yaml()
    );
    assert_eq!(
        suggestions.json()["changes"][0]["patch"]["spec"]["exportTo"][1],
        "orders"
    );
}

#[test]
fn object_that_has_more_than_was_seen_is_not_exported() {
    let two = DB.replace(
        "  - {number: 5432, name: postgres, protocol: TCP}\n",
        "  - {number: 5432, name: postgres, protocol: TCP}\n  - {number: 22, name: ssh, protocol: TCP}\n",
    );
    let suggestions = of(
        registry(Settings::default(), written(&two).0),
        &["orders/api tcp db.example.com:5432 192.0.2.1"],
    );
    let text = suggestions.yaml();
    assert_eq!(
        (suggestions.entries.len(), suggestions.changes.len()),
        (1, 0),
        "{text}"
    );
    assert!(
        text.contains("# ServiceEntry frontend/db comes near; a change of it would allow more"),
        "{text}"
    );
}

#[test]
fn change_says_who_else_gets_it() {
    let public = DB.replace("exportTo: ['.']", "exportTo: ['*']");
    let suggestions = of(
        registry(Settings::default(), written(&public).0),
        &["orders/api tcp db.example.com:6432 192.0.2.1"],
    );
    assert!(
        suggestions
            .yaml()
            .contains("# It is exported to every namespace, who may then do the same.\n"),
        "{}",
        suggestions.yaml()
    );
}

#[test]
fn what_no_entry_can_allow_is_noted_with_what_would() {
    let dns_only = Settings {
        udp: UdpPolicy::DnsOnly,
        ..Settings::default()
    };
    let text = of(
        Registry::new(dns_only),
        &["frontend/web udp time.example.com:123 192.0.2.1"],
    )
    .yaml();
    assert!(
        text.starts_with(
            "# Nothing to suggest.\n---\n# Not suggested:\n# - frontend/web -> udp time.example.com:123: "
        ),
        "{text}"
    );
    assert!(text.contains("udp: registry"), "{text}");

    let service = service(
        "b/s",
        crate::istio::ServiceKind::ClusterIp(vec![ip("10.96.0.1")]),
        &[(80, Protocol::Http)],
    );
    let objects = [Update::Apply(service.into())];
    let suggestions = of(
        registry(Settings::default(), objects),
        &["frontend/web tcp s.b.svc.cluster.local:81 10.96.0.1"],
    );
    assert!(
        suggestions.entries.is_empty() && suggestions.notes.len() == 1,
        "{}",
        suggestions.yaml()
    );
}

#[test]
fn wildcard_is_offered_when_it_is_asked_for_and_says_what_else_it_allows() {
    let observations = [
        seen("frontend/web tcp a.cdn.example.com:443 192.0.2.1"),
        seen("frontend/web tcp b.cdn.example.com:443 192.0.2.2"),
        seen("frontend/web tcp c.cdn.example.com:443 192.0.2.3"),
        seen("frontend/web tcp d.cdn.example.com:5432 192.0.2.3"),
    ];
    let run = |wildcards, settings| {
        let options = Options {
            wildcards,
            ..Options::default()
        };
        suggest(
            Registry::new(settings),
            &observations,
            (&options, Sources::default()),
        )
    };
    assert_eq!(run(false, Settings::default()).entries.len(), 4);
    let text = run(true, Settings::default()).yaml();
    assert!(text.starts_with("# 2 new ServiceEntries"), "{text}");
    assert!(
        text.contains(
            "# A wildcard: it also allows every other name below cdn.example.com, on these ports.\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("(deny)\n") && text.contains(" of a.cdn.example.com, 12 times"),
        "{text}"
    );
    assert!(
        text.contains("  hosts:\n  - \"*.cdn.example.com\"\n  resolution: NONE\n"),
        "{text}"
    );
    let unlearned = Settings {
        learns: false,
        ..Settings::default()
    };
    let text = run(true, unlearned).yaml();
    assert!(
        text.starts_with("# 4 new ServiceEntries") && text.contains("# - --wildcards: no name below"),
        "{text}"
    );
}

#[test]
fn without_learning_a_name_stands_for_what_it_was_seen_to_resolve_to() {
    let settings = Settings {
        learns: false,
        ..Settings::default()
    };
    let text = of(
        Registry::new(settings),
        &["frontend/web tcp api.example.com:443 192.0.2.1"],
    )
    .yaml();
    assert!(
        text.contains("  - api.example.com\n  resolution: DNS\n"),
        "{text}"
    );
}

#[test]
fn protocol_is_that_of_the_same_port_of_the_host_elsewhere() {
    let other = entry("other/api", "api.example.com", &[(9000, Protocol::Grpc)])
        .resolution(Resolution::Dns)
        .export(&["~"]); // Whoever exports to nobody means it: that one is not changed.
    let objects = [Update::Apply(Object::from(other))];
    let text = of(
        registry(Settings::default(), objects),
        &["frontend/web tcp api.example.com:9000 192.0.2.1"],
    )
    .yaml();
    assert!(
        text.contains("    name: grpc-9000\n    protocol: GRPC\n"),
        "{text}"
    );
}

#[test]
fn text_from_elsewhere_stays_in_its_comment() {
    let mut hostile = seen("frontend/web tcp 192.0.2.1:80");
    hostile.workload = "web\napiVersion: v1\u{85}\u{2028}x".to_owned();
    let registry = Registry::new(Settings::default());
    let text = suggest(registry, &[hostile], (&Options::default(), Sources::default())).yaml();
    assert!(
        text.contains("# frontend/web\\napiVersion: v1\\u{85}\\u{2028}x: tcp 80"),
        "{text}"
    );
}

#[test]
fn only_what_is_chosen_is_suggested_for() {
    let observations = [
        seen("frontend/web tcp a.example.com:443 192.0.2.1"),
        seen("frontend/cron tcp b.example.com:443 192.0.2.1"),
        seen("orders/web tcp c.example.com:443 192.0.2.1"),
    ];
    let names = |options: &Options| {
        let registry = Registry::new(Settings::default());
        let suggestions = suggest(registry, &observations, (options, Sources::default()));
        let names = suggestions.entries.into_iter().map(|entry| entry.id.name);
        names.collect::<BTreeSet<_>>()
    };
    let namespace = Options {
        namespace: Some(crate::model::Namespace::new("frontend")),
        ..Options::default()
    };
    assert_eq!(
        names(&namespace),
        ["a-example-com".into(), "b-example-com".into()].into()
    );
    let workload = Options {
        workload: Some("web".into()),
        ..Options::default()
    };
    assert_eq!(
        names(&workload),
        ["a-example-com".into(), "c-example-com".into()].into()
    );
    let since = Options {
        since: Some("2026-11-23T00:00:00Z".parse().unwrap()),
        ..Options::default()
    };
    assert!(names(&since).is_empty());
}

#[test]
fn workload_of_the_registry_is_known_by_its_labels() {
    let updates = [
        workload(1, "frontend", "app=web"),
        Update::Resolved {
            host: Host::new("api.example.com"),
            addresses: [ip("192.0.2.1")].into(),
        },
    ];
    let registry = registry(Settings::default(), updates);
    let name = registry.workload(CgroupId(1)).unwrap().name.clone();
    let suggestions = of(
        registry,
        &[&format!("frontend/{name} tcp api.example.com:443 192.0.2.9")],
    );
    assert_eq!(suggestions.entries.len(), 1, "{}", suggestions.yaml());
}
