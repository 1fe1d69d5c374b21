//! Any JSON as what the API server says, by itself and as the content of each kind.

#![no_main]

use enforcer_core::{istio, yaml::Document};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Kinds with the versions that their objects name.
const KINDS: [(&str, &str); 9] = [
    ("networking.istio.io/v1", "ServiceEntry"),
    ("networking.istio.io/v1", "WorkloadEntry"),
    ("networking.istio.io/v1", "Sidecar"),
    ("", "MeshConfig"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "Pod"),
    ("v1", "Namespace"),
    ("discovery.k8s.io/v1", "EndpointSlice"),
];

/// JSON, or YAML so that the corpus can be where it starts from.
fn value(bytes: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Some(value);
    }
    Document::embedded(std::str::from_utf8(bytes).ok()?, 1)
        .parse()
        .ok()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(value) = value(bytes) else {
        return;
    };
    for (_, object) in istio::unfold(&value) {
        istio::read(object);
    }
    for (version, kind) in KINDS {
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": "istio"},
            "spec": value,
            "status": value,
            "data": {"mesh": value.to_string()},
        });
        istio::read(&object);
        object["metadata"] = value.clone();
        istio::read(&object);
    }
});
