//! No name, host or address of a state is left in any file, and what was the same still is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proptest::{collection::btree_set, prelude::*};
use serde_json::json;

use super::{super::Files, redact, words};
use crate::control::Listing;

/// What a state is made of.
#[derive(Clone, Debug)]
struct State {
    namespaces: Vec<String>,
    workloads: Vec<String>,
    objects: Vec<String>,
    processes: Vec<String>,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    uid: u128,
    folder: String,
}

/// Names that no word of ours has within it by chance.
fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{2}[0-9][a-z]{2,4}(-[a-z0-9]{2,5}){0,2}".prop_filter("ours", |name| !words::is_public(name))
}

fn names(most: usize) -> impl Strategy<Value = Vec<String>> {
    btree_set(name(), 2..most).prop_map(|names| names.into_iter().collect())
}

fn host() -> impl Strategy<Value = String> {
    let below =
        "([a-z0-9]{2,5}\\.){0,2}[a-z]{3}[0-9][a-z]{2,4}\\.(com|org|io|internal|svc\\.cluster\\.local)";
    (below, prop_oneof![3 => Just(""), 1 => Just("*.")]).prop_map(|(host, star)| format!("{star}{host}"))
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        // Also those that others are replaced by.
        (1..9_u8).prop_map(|last| IpAddr::from([192, 0, 2, last])),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        (1..9_u16).prop_map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])),
    ]
    .prop_filter("ours", |address| !super::scan::is_everybodys(*address))
    .prop_map(|address| address.to_canonical())
}

fn state() -> impl Strategy<Value = State> {
    let process = "[A-Za-z][0-9][a-zA-Z]{2}[0-9][a-zA-Z0-9 ()-]{2,8}[a-z0-9]";
    let processes = btree_set(process, 2..5).prop_filter("the same but for case", |all| {
        let lower: BTreeSet<_> = all.iter().map(|name| name.to_lowercase()).collect();
        lower.len() == all.len()
    });
    let lists = (names(5), names(6), names(6), processes);
    let rest = (
        btree_set(host(), 2..6),
        btree_set(address(), 2..9),
        any::<u128>(),
        name(),
    );
    (lists, rest).prop_map(
        |((namespaces, workloads, objects, processes), (hosts, addresses, uid, folder))| State {
            namespaces,
            workloads,
            objects,
            processes: processes.into_iter().collect(),
            hosts: hosts.into_iter().collect(),
            addresses: addresses.into_iter().collect(),
            uid,
            folder,
        },
    )
}

fn uid(number: u128) -> String {
    let hex = format!("{number:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The files of a state: each name stands in a field once at least, and in sentences.
fn files(state: &State) -> Files {
    let State {
        namespaces,
        workloads,
        objects,
        processes,
        hosts,
        addresses,
        folder,
        ..
    } = state;
    let pick = |list: &[String], at: usize| list[at % list.len()].clone();
    let mut records = Vec::new();
    let most = [
        namespaces.len(),
        workloads.len(),
        objects.len(),
        processes.len(),
        hosts.len(),
        addresses.len(),
    ];
    for at in 0..most.into_iter().max().unwrap_or_default() {
        let (namespace, workload) = (pick(namespaces, at), pick(workloads, at));
        let (object, process, host) = (pick(objects, at), pick(processes, at), pick(hosts, at));
        let address = addresses[at % addresses.len()];
        let to = std::net::SocketAddr::new(address, 443);
        let message = format!(
            "denied {namespace}/{workload} {process}[12] -> tcp {host} ({to}): ServiceEntry {namespace}/{object} is not \
             exported to {namespace}; add {namespace} to exportTo of ServiceEntry {namespace}/{object}, or {address}/24"
        );
        records.push(json!({
            "timestamp": "2023-11-14T22:13:20Z", "level": "WARN", "event": "flow_denied", "message": message,
            "workload": format!("{namespace}/{workload}"), "namespace": namespace, "process": process, "pid": 12,
            "host": host, "address": address.to_string(), "port": 443,
            "object": format!("ServiceEntry {namespace}/{object}"),
        }));
    }
    let mut files = Files::default();
    let mut text = String::new();
    for record in &records {
        text.push_str(&format!(
            "  {}: {}\n",
            record["workload"].as_str().unwrap(),
            record["message"]
        ));
    }
    let (plain, underscored) = (uid(state.uid), uid(state.uid).replace('-', "_"));
    text.push_str(&format!(
        "/etc/{folder}/registry.yaml:7: not YAML\ncgroup /kubepods.slice/kubepods-pod{underscored}.slice/x\nunknown pod \
         {plain}\n"
    ));
    files.listing("log.jsonl", records.iter().cloned().collect::<Listing>());
    files.text("status.txt", text);
    files.json(
        "status.json",
        json!({ "rejected": records.iter().map(|it| it["message"].clone()).collect::<Vec<_>>() }),
    );
    files.text("configuration.yaml", format!("# of {folder}\n"));
    files
}

/// Where an original stands, and is no part of a longer name or number.
fn stands(text: &str, original: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(original).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + original.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_name_host_or_address_is_left_in_any_file(state in state()) {
        let mut files = files(&state);
        redact(&mut files);
        let rendered = files.render();
        let all: Vec<_> = rendered.iter().map(|(name, bytes)| (name, String::from_utf8_lossy(bytes).to_lowercase())).collect();
        let bare = |host: &String| host.trim_start_matches("*.").to_owned();
        let names = [&state.namespaces, &state.workloads, &state.objects, &state.processes];
        let mut originals: Vec<String> = names.into_iter().flatten().map(|name| name.to_lowercase()).collect();
        originals.extend(state.hosts.iter().map(bare));
        originals.extend(state.addresses.iter().map(ToString::to_string));
        originals.extend([uid(state.uid), uid(state.uid).replace('-', "_"), state.folder.clone()]);
        for (name, text) in &all {
            for original in &originals {
                prop_assert!(!stands(text, original), "{original:?} is left in {name}: {text}");
            }
        }
    }

    #[test]
    fn what_was_the_same_still_is_and_nothing_else(state in state()) {
        let before = files(&state);
        let mut after = before.clone();
        redact(&mut after);
        let fields = ["namespace", "process", "host", "address", "workload", "object"];
        for field in fields {
            let all = |files: &Files| -> Vec<String> {
                let values = files.values().filter_map(|value| value.get(field)?.as_str());
                values.map(str::to_owned).collect()
            };
            let (originals, placeholders) = (all(&before), all(&after));
            prop_assert_eq!(originals.len(), placeholders.len());
            let mut there = BTreeMap::<&String, BTreeSet<&String>>::new();
            let mut back = BTreeMap::<&String, BTreeSet<&String>>::new();
            for (original, placeholder) in originals.iter().zip(&placeholders) {
                there.entry(original).or_default().insert(placeholder);
                back.entry(placeholder).or_default().insert(original);
            }
            prop_assert!(there.values().all(|of| of.len() == 1), "{field}: {there:?}");
            prop_assert!(back.values().all(|of| of.len() == 1), "{field}: {back:?}");
        }
        // A sentence names what its fields do.
        for record in after.values().filter(|value| value.get("process").is_some()) {
            let message = record["message"].as_str().unwrap();
            for field in ["workload", "process", "host", "object", "namespace", "address"] {
                let placeholder = record[field].as_str().unwrap();
                prop_assert!(message.contains(placeholder), "{field} {placeholder} in {message}");
            }
        }
    }
}

/// What becomes of a sentence beside fields.
fn redacted(fields: serde_json::Value, text: &str) -> String {
    let mut files = Files::default();
    files.json("a.json", fields);
    files.text("b.txt", text);
    redact(&mut files);
    String::from_utf8(files.render()["b.txt"].clone())
        .unwrap()
        .trim_end()
        .to_owned()
}

#[track_caller]
fn check(fields: serde_json::Value, text: &str, expected: &str) {
    // Which number each has, the salt decides.
    let plain = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    assert_eq!(plain(&redacted(fields, text)), plain(expected));
}

#[test]
fn hosts_keep_their_shape_and_who_is_below_whom() {
    check(
        json!({}),
        "db.example.com, *.example.com",
        "host-1.host-2.example, *.host-2.example",
    );
    let both = redacted(json!({}), "db.acme.com *.acme.com acme.com acme.org");
    let words: Vec<_> = both.split(' ').collect();
    assert_eq!(words[0].split_once('.').unwrap().1, words[2]);
    assert_eq!(words[1], format!("*.{}", words[2]));
    assert_ne!(words[2], words[3]);
    check(
        json!({ "namespace": "shop" }),
        "web.shop.svc.cluster.local:80",
        "host-1.namespace-1.svc.cluster.local:80",
    );
}

#[test]
fn what_everybody_has_stays() {
    for text in [
        "the loopback 127.0.0.1:53 and [::1]:53 and 0.0.0.0/0",
        "dns.learn.minTtl, spec.hosts, istio.io/rev and networking.istio.io/v1",
        "/sys/fs/bpf/enforcer and /etc/enforcer/enforcer.yaml:7: wrong",
        "kube-system/kube-dns and default",
        "5.10.0 at 12:30:45, 2023-11-14T22:13:20Z",
    ] {
        assert_eq!(redacted(json!({}), text), text);
    }
}

#[test]
fn word_that_is_a_name_goes_also_in_sentences_and_inside_longer_names() {
    let fields = json!({ "workload": "shop/web" });
    check(
        fields.clone(),
        "web runs as web-7d4f in shop.slice",
        "workload-1 runs as workload-1-7d4f in namespace-1.slice",
    );
    check(fields, "webs and my_web stay", "webs and my_web stay");
}

#[test]
fn networks_and_mapped_addresses_are_replaced_in_their_form() {
    check(
        json!({}),
        "10.1.2.0/24 ::ffff:10.1.2.3 [2001:db9::7]:443.",
        "192.0.2.1/24 ::ffff:192.0.2.1 [2001:db8::1]:443.",
    );
    let text = redacted(json!({}), "::ffff:10.1.2.3 10.1.2.3");
    let (mapped, plain) = text.split_once(' ').unwrap();
    assert_eq!(mapped, format!("::ffff:{plain}"));
}

#[test]
fn numbering_is_of_one_run_alone() {
    let text: String = (0..40)
        .map(|number| format!("a{number}.example{number}.com "))
        .collect();
    assert_ne!(redacted(json!({}), &text), redacted(json!({}), &text));
}

#[test]
fn comments_of_the_configuration_are_left_out() {
    let mut files = Files::default();
    files.text("configuration.yaml", "# for the bank\nmode: audit\n");
    files.json(
        "configuration.json",
        json!({ "holds": { "workloads": [{ "namespace": "bank", "labels": { "app": "till" } }] } }),
    );
    files.text("log", "bank and till");
    redact(&mut files);
    let rendered = files.render();
    assert!(!rendered.contains_key("configuration.yaml"));
    for bytes in rendered.values() {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("bank") && !text.contains("till"), "{text}");
    }
}
