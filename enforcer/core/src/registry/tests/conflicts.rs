//! Which objects conflict, and which only look as if they did.

use super::*;
use crate::{istio::Sidecar, test_support::namespace};

/// What is said of conflicts alone.
fn conflicts(updates: impl IntoIterator<Item = Update>) -> Vec<String> {
    let mut registry = world(Settings::default(), updates);
    let all = registry.warnings();
    let conflicts = all.iter().filter(|it| matches!(it, Warning::Conflict(_)));
    conflicts.map(ToString::to_string).collect()
}

fn fixed(id: &str, host: &str, ports: &[(u16, Protocol)]) -> ServiceEntry {
    entry(id, host, ports).addresses(&["192.0.2.1"])
}

#[test]
fn entry_that_loses_its_host_where_it_is_exported_by_name_is_told() {
    let of = |id: &str, to: &[&str]| public(id, "e.example", "192.0.2.1").export(to);
    let lost = |loser: &str, winner: &str, namespaces: &str| {
        format!(
            "ServiceEntry {loser} does not count in {namespaces}: ServiceEntry {winner} has e.example there; keep one of \
             the two, or export them to different namespaces"
        )
    };
    let both =
        |a: &[&str], b: &[&str]| conflicts([of("a/e", a).created(1).into(), of("b/e", b).created(2).into()]);
    assert_eq!(
        both(&[".", "c", "d"], &[".", "c", "d"]),
        [lost("b/e", "a/e", "c, d")]
    );
    assert_eq!(
        both(&["*"], &[".", "c"]),
        [lost("a/e", "b/e", "c")],
        "a name goes before *"
    );
    assert_eq!(both(&["*"], &["."]), [""; 0], "a namespace may have its own");
    assert_eq!(both(&["*"], &["*"]), [""; 0], "another warning says so");
    assert_eq!(both(&[".", "c"], &[".", "d"]), [""; 0], "nobody sees both");
    assert_eq!(
        both(&["c"], &["c"]),
        [""; 0],
        "another warning says that one allows nothing"
    );
}

#[test]
fn one_port_with_two_protocols_is_told_and_udp_beside_tcp_is_not() {
    let both = |a: Protocol, b: Protocol| {
        conflicts([
            fixed("a/e", "e.example", &[(443, a)]).created(1).into(),
            fixed("a/f", "e.example", &[(443, b)]).created(2).into(),
        ])
    };
    assert_eq!(
        both(Protocol::Tls, Protocol::Tcp),
        [
            "ServiceEntry a/f and ServiceEntry a/e have e.example, and give port 443 different protocols: a proxy takes \
             one of them; give both the same, or write one entry"
        ]
    );
    assert_eq!(both(Protocol::Tls, Protocol::Https), [""; 0]);
    assert_eq!(both(Protocol::Tls, Protocol::Udp), [""; 0]);
    let elsewhere = [
        fixed("a/e", "e.example", &[(443, Protocol::Tls)])
            .export(&["c"])
            .into(),
        fixed("a/f", "e.example", &[(443, Protocol::Tcp)])
            .export(&["d"])
            .into(),
    ];
    assert_eq!(conflicts(elsewhere), [""; 0], "nobody sees both");
}

#[test]
fn entries_that_cannot_be_merged_name_the_fields_and_the_ports_that_lead_nowhere() {
    let older = || fixed("a/e", "e.example", &[(443, Protocol::Tls)]).created(1);
    let with = |younger: ServiceEntry| conflicts([older().into(), younger.created(2).into()]);
    let more = || fixed("a/f", "e.example", &[(443, Protocol::Tls), (8443, Protocol::Tls)]);
    assert_eq!(with(more()), [""; 0], "they merge");
    assert_eq!(
        with(more().resolution(Resolution::Static).export(&["."])),
        [
            "ServiceEntry a/f and ServiceEntry a/e have e.example and differ in exportTo, resolution, so that they do not \
             count together: ServiceEntry a/e is older, and port 8443 of ServiceEntry a/f leads nowhere; write one entry, \
             or make them the same in this"
        ]
    );
    let same_port = || fixed("a/f", "e.example", &[(443, Protocol::Tls)]);
    assert_eq!(
        with(same_port().export(&["."])),
        [""; 0],
        "it adds nothing, and nothing is lost"
    );
    let undated = conflicts([
        fixed("a/e", "e.example", &[(443, Protocol::Tls)]).into(),
        same_port()
            .resolution(Resolution::Static)
            .endpoints(&["192.0.2.1"])
            .into(),
    ]);
    assert_eq!(
        undated,
        [
            "ServiceEntry a/f and ServiceEntry a/e have e.example and differ in resolution, so that they do not count \
             together: what the older one says holds, and ports that only the other one has lead nowhere; write one \
             entry, or make them the same in this"
        ]
    );
}

#[test]
fn address_that_two_hosts_share_is_told_unless_requests_tell_them_apart() {
    let both = |protocol, to: &[&str]| {
        conflicts([
            fixed("a/e", "e.example", &[(5432, protocol)]).created(1).into(),
            fixed("b/f", "f.example", &[(5432, protocol)])
                .export(to)
                .created(2)
                .into(),
        ])
    };
    let shared = "ServiceEntry b/f declares 192.0.2.1:5432, as ServiceEntry a/e does for another host: whoever may reach one \
                  host there reaches the other; give them addresses or ports of their own, or write one entry";
    assert_eq!(both(Protocol::Tcp, &["*"]), [shared]);
    assert_eq!(both(Protocol::Tls, &["."]), [shared]);
    assert_eq!(both(Protocol::Http, &["*"]), [""; 0]);
    let apart = [
        fixed("a/e", "e.example", &[(5432, Protocol::Tcp)])
            .export(&["."])
            .into(),
        fixed("b/f", "f.example", &[(5432, Protocol::Tcp)])
            .export(&["."])
            .into(),
        fixed("a/g", "g.example", &[(5433, Protocol::Tcp)])
            .export(&["."])
            .into(),
    ];
    assert_eq!(conflicts(apart), [""; 0]);
}

#[test]
fn host_that_sidecars_hide_from_everybody_names_them() {
    let e = || fixed("a/e", "e.example", &[(443, Protocol::Tls)]);
    let root = |hosts: &[&str]| -> Update { sidecar("istio-system/default", vec![egress(hosts)]).into() };
    let hidden = "nobody may reach e.example of ServiceEntry a/e, because Sidecar istio-system/default imports nothing of it: \
                  add a/e.example to the egress hosts of a Sidecar, or remove the entry";
    assert_eq!(conflicts([e().into(), root(&["b/*"])]), [hidden]);
    assert_eq!(
        conflicts([e().into(), root(&["./*"])]),
        [""; 0],
        "its own namespace sees it"
    );
    assert_eq!(conflicts([e().into(), root(&["*/*"])]), [""; 0]);
    let importing = sidecar("c/web", vec![egress(&["a/*"])]).selector("app=web");
    assert_eq!(
        conflicts([e().into(), root(&["b/*"]), importing.into()]),
        [""; 0],
        "a web would"
    );
    let own = sidecar("a/default", vec![egress(&["b/*"])]);
    assert_eq!(
        conflicts([e().export(&["."]).into(), own.into()]),
        [hidden.replace("istio-system/default", "a/default")]
    );
}

#[test]
fn host_that_is_hidden_where_it_is_exported_by_name_names_the_namespace() {
    let e = |to: &[&str]| fixed("a/e", "e.example", &[(443, Protocol::Tls)]).export(to);
    let narrow = || -> Update { sidecar("b/default", vec![egress(&["./*"])]).into() };
    assert_eq!(
        conflicts([e(&[".", "b"]).into(), narrow()]),
        [
            "nobody in b may reach e.example of ServiceEntry a/e, which is exported to it, because Sidecar b/default \
             imports nothing of it: add a/e.example to the egress hosts there, or take b out of exportTo"
        ]
    );
    assert_eq!(
        conflicts([e(&["*"]).into(), narrow()]),
        [""; 0],
        "leaving out what is public is what Sidecars are for"
    );
    let of_own = sidecar("a/default", vec![egress(&["b/*"])]);
    assert_eq!(
        conflicts([e(&[".", "b"]).into(), of_own.into()]),
        [""; 0],
        "it is for others"
    );
}

#[test]
fn export_to_a_namespace_is_told_to_lead_nowhere_only_where_namespaces_are_known() {
    let e = || -> Update {
        fixed("a/e", "e.example", &[(443, Protocol::Tls)])
            .export(&[".", "b", "ghost"])
            .into()
    };
    assert_eq!(conflicts([e()]), [""; 0]);
    assert_eq!(
        conflicts([e(), namespace("b", "").into()]),
        [
            "ServiceEntry a/e is exported to ghost, and no such namespace is known: correct exportTo, or make the namespace"
        ]
    );
    let inhabited = [e(), namespace("b", "").into(), workload(1, "ghost", "")];
    assert_eq!(conflicts(inhabited), [""; 0], "a workload is there");
}

#[test]
fn sidecar_that_another_keeps_from_applying_is_told() {
    let of = |id: &str, created: i64| {
        let mut sidecar = sidecar(id, vec![egress(&["*/*"])]);
        sidecar.meta.created = Some(created);
        sidecar
    };
    let unused = |unused: &str, used: &str| {
        format!(
            "Sidecar {unused} applies to no workload: Sidecar {used} goes before it wherever it could apply; put both into \
             one, or give them workloadSelectors of their own"
        )
    };
    let both = |a: Sidecar, b: Sidecar| conflicts([a.into(), b.into()]);
    assert_eq!(both(of("a/x", 1), of("a/y", 2)), [unused("a/y", "a/x")]);
    assert_eq!(both(of("a/x", 1), of("b/y", 2)), [""; 0]);
    assert_eq!(both(of("a/x", 1), of("a/y", 2).selector("app=web")), [""; 0]);
    let web = |id, created| of(id, created).selector("app=web");
    assert_eq!(both(web("a/x", 1), web("a/y", 2)), [unused("a/y", "a/x")]);
    assert_eq!(
        both(web("a/x", 1), of("a/y", 2).selector("app=web,version=1")),
        [unused("a/y", "a/x")],
        "what the younger selects, the older does too"
    );
    let narrow = || of("a/x", 1).selector("app=web,version=1");
    assert_eq!(
        both(narrow(), web("a/y", 2)),
        [""; 0],
        "other versions have the younger"
    );
    let root = |name: &str, created| of(&format!("istio-system/{name}"), created);
    assert_eq!(
        both(root("x", 1), root("y", 2)),
        [unused("istio-system/y", "istio-system/x")]
    );
    let everything = root("x", 2).selector("");
    assert_eq!(
        both(root("y", 1), everything),
        [""; 0],
        "the other applies in all other namespaces"
    );
}

#[test]
fn labels_of_a_workload_that_two_sidecars_select_are_named() {
    let of = |id: &str, created: i64, selector: &str| {
        let mut sidecar = sidecar(id, vec![egress(&["*/*"])]).selector(selector);
        sidecar.meta.created = Some(created);
        Update::from(sidecar)
    };
    let all = |labels: &str| {
        conflicts([
            of("a/x", 1, "app=web"),
            of("a/y", 2, "version=1"),
            pod("a/p", &["192.0.2.7"], labels).into(),
        ])
    };
    assert_eq!(
        all("app=web,version=1"),
        [
            "Sidecar a/y does not apply to workloads with app=web,version=1, which it selects: Sidecar a/x selects them too \
             and goes before; have each workload selected by one Sidecar"
        ]
    );
    assert_eq!(all("app=web"), [""; 0]);
}

#[test]
fn hosts_and_ports_of_one_pair_are_said_at_once() {
    let of = |id: &str, protocol| {
        let mut entry = entry(id, "a.example", &[(443, protocol), (80, protocol)]);
        entry
            .hosts
            .extend(["b.example", "c.example", "d.example"].map(Host::new));
        Update::from(entry)
    };
    assert_eq!(
        conflicts([of("a/e", Protocol::Tls), of("a/f", Protocol::Http)]),
        [
            "ServiceEntry a/f and ServiceEntry a/e have a.example, b.example, c.example and 1 more, and give port 80, 443 \
             different protocols: a proxy takes one of them; give both the same, or write one entry"
        ]
    );
}
