//! Whatever a file holds, reading it ends, and ends well: `cargo test` has a small part of what the fuzz targets have.

use std::{fs, path::Path};

use enforcer_core::{
    documents::{Documents, check},
    istio,
};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// The kept corpus, as what mutations begin with.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut texts = Vec::new();
    for verdict in ["valid", "invalid"] {
        let entries = fs::read_dir(folder.join(verdict)).expect("the corpus is there");
        for entry in entries {
            let path = entry.expect("the corpus can be listed").path();
            texts.push(fs::read_to_string(path).expect("the document can be read"));
        }
    }
    texts.sort();
    assert!(!texts.is_empty());
    texts
}

/// Something is said about the text, and a set of files takes it and lets it go.
fn survives(text: &str) {
    for record in check("f", text) {
        assert!(record.line >= 1);
        assert_eq!(
            record.errors.is_empty(),
            record.verdict == enforcer_core::documents::Judgement::Valid
        );
        let breaks = text.replace("\r\n", "\n").matches(['\n', '\r']).count();
        let lines = u32::try_from(breaks).expect("the text is short") + 1;
        assert!(record.line <= lines, "line {} of {lines}: {text:?}", record.line);
    }
    let mut documents = Documents::default();
    documents.set("f", Some(text));
    documents.problems();
    documents.set("f", None);
    assert!(documents.is_empty());
}

/// Values made of the names that matter and of what may stand behind them.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "*",
            "~",
            ".",
            "a",
            "*.a.com",
            "a.com.",
            "1.2.3.4",
            "::1/64",
            "10.0.0.0/8",
            "unix://",
            "unix:///a/",
            "~ns/*",
            "*/*",
            "/",
            "ns/",
            "NONE",
            "STATIC",
            "DNS",
            "DYNAMIC_DNS",
            "REGISTRY_ONLY",
            "TCP",
            "grpc-web",
            "-5s",
            "[::1]:80",
            "None",
            "ExternalName",
            "Succeeded",
            "2024-01-01T00:00:00Z",
            "a: [b",
            "%",
            "日本",
        ])
        .prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let key = prop::sample::select(vec![
        "hosts",
        "addresses",
        "ports",
        "number",
        "name",
        "protocol",
        "targetPort",
        "resolution",
        "location",
        "endpoints",
        "address",
        "labels",
        "network",
        "weight",
        "workloadSelector",
        "exportTo",
        "egress",
        "ingress",
        "port",
        "bind",
        "captureMode",
        "defaultEndpoint",
        "tls",
        "mode",
        "outboundTrafficPolicy",
        "egressProxy",
        "host",
        "inboundConnectionPool",
        "http",
        "tcp",
        "idleTimeout",
        "cipherSuites",
        "clusterIP",
        "clusterIPs",
        "type",
        "externalName",
        "podIPs",
        "ip",
        "phase",
        "hostNetwork",
        "conditions",
        "value",
        "status",
        "discoverySelectors",
        "matchLabels",
        "matchExpressions",
        "operator",
        "values",
        "serviceEntryVisibility",
        "policies",
        "matchingRules",
        "namespaceSelector",
        "defaultServiceExportTo",
        "rootNamespace",
        "items",
        "kind",
    ]);
    scalar.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..7).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect::<Map<_, _>>())
            }),
        ]
    })
}

/// Kinds with the versions that their documents name.
const KINDS: [(&str, &str); 10] = [
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1beta1", "WorkloadEntry"),
    ("networking.istio.io/v1alpha3", "Sidecar"),
    ("x", "MeshConfig"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "Pod"),
    ("v1", "Namespace"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
    ("v1", "List"),
];

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        survives(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_of_indicators_is_survived(text in "[-?:,\\[\\]{}#&*!|>'\"%@` \t\r\na0<=.~/]{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_change_to_a_real_document_is_survived(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, "\\PC{0,8}|\n---\n|\n  - |: |\\*a |&a |\t|null|\r\n"), 1..6),
    ) {
        let corpus = corpus();
        let mut text: Vec<char> = which.get(&corpus).chars().collect();
        for (at, length, insert) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insert.chars());
        }
        survives(&text.into_iter().collect::<String>());
    }

    #[test]
    fn any_value_of_any_kind_is_survived(
        kind in prop::sample::select(KINDS.to_vec()),
        mut document in value(),
        (spec, metadata, status) in (value(), value(), value()),
    ) {
        istio::read(&document);
        if let Value::Object(fields) = &mut document {
            fields.insert("apiVersion".into(), kind.0.into());
            fields.insert("kind".into(), kind.1.into());
            fields.insert("spec".into(), spec);
            fields.insert("status".into(), status.clone());
            fields.insert("data".into(), serde_json::json!({"mesh": status}));
            fields.insert("metadata".into(), metadata);
            for (_, object) in istio::unfold(&document) {
                istio::read(object);
            }
            document["metadata"] = serde_json::json!({"name": "istio", "namespace": "ns"});
            istio::read(&document);
        }
        // What JSON can say YAML can say too.
        survives(&document.to_string());
    }
}
