//! Any JSON as what the API server says, by itself and as the content of each kind.

#![no_main]

use enforcer_core::istio;
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

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = serde_json::from_slice::<Value>(bytes) else {
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
