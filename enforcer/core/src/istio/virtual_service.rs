//! VirtualService. Nothing that it says is validated, and none is refused: it is read for warnings alone.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;

use super::object::{Meta, Object, VirtualService};

/// The name by which `gateways` means the proxies of workloads.
const MESH: &str = "mesh";
/// Where routes are.
const ROUTES: [&str; 3] = ["http", "tls", "tcp"];

pub(super) fn read(document: &Value, meta: Meta) -> Object {
    let spec = &document["spec"];
    let routes = ROUTES.iter().flat_map(|kind| items(&spec[kind]));
    let of_mesh = routes.filter(|route| is_of_mesh(route));
    let destinations = of_mesh.flat_map(|route| items(&route["route"]));
    let destinations = destinations.filter_map(|to| to["destination"]["host"].as_str());
    let destinations: BTreeSet<_> = destinations.map(str::to_owned).collect();
    Object::VirtualService(Arc::new(VirtualService {
        hosts: texts(&spec["hosts"]).map(str::to_owned).collect(),
        is_in_mesh: is_named(&spec["gateways"]),
        destinations: destinations.into_iter().collect(),
        meta: meta.of_unselected(),
    }))
}

/// Whether any of a route's matches is for the proxies of workloads; one without matches is for all.
fn is_of_mesh(route: &Value) -> bool {
    let mut matches = items(&route["match"]).peekable();
    matches.peek().is_none() || matches.any(|of| is_named(&of["gateways"]))
}

fn is_named(gateways: &Value) -> bool {
    let mut gateways = texts(gateways).peekable();
    gateways.peek().is_none() || gateways.any(|gateway| gateway == MESH)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    items(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::istio::{Reading, read};

    fn parsed(spec: &Value) -> VirtualService {
        let document = json!({
            "apiVersion": "networking.istio.io/v1beta1", "kind": "VirtualService",
            "metadata": { "name": "v", "namespace": "a" }, "spec": spec,
        });
        match read(&document) {
            Reading::Valid(Object::VirtualService(object), warnings) if warnings.is_empty() => {
                (*object).clone()
            }
            other => panic!("{other:?}"),
        }
    }

    fn to(hosts: &[&str]) -> Value {
        hosts
            .iter()
            .map(|host| json!({ "destination": { "host": host } }))
            .collect()
    }

    #[test]
    fn routes_of_gateways_are_left_out() {
        let object = parsed(&json!({
            "hosts": ["x.example"],
            "gateways": ["mesh", "egress"],
            "http": [
                { "match": [{ "gateways": ["mesh"], "port": 80 }], "route": to(&["gateway.istio-system.svc.cluster.local"]) },
                { "match": [{ "gateways": ["egress"], "port": 80 }], "route": to(&["x.example"]) },
            ],
            "tls": [{ "match": [{ "sniHosts": ["x.example"] }], "route": to(&["b", "a", "b"]) }],
        }));
        assert_eq!(object.hosts, ["x.example"]);
        assert_eq!(
            object.destinations,
            ["a", "b", "gateway.istio-system.svc.cluster.local"]
        );
        assert!(object.is_in_mesh);
        let of_gateway = parsed(&json!({ "hosts": ["x.example"], "gateways": ["a/ingress"] }));
        assert!(!of_gateway.is_in_mesh);
    }

    #[test]
    fn nothing_in_it_is_an_error() {
        for spec in [
            json!(null),
            json!([1]),
            json!({ "hosts": "x", "http": { "a": 1 }, "tcp": [1, { "route": [{ "destination": [] }] }] }),
        ] {
            let object = parsed(&spec);
            assert!(object.is_in_mesh && object.hosts.is_empty() && object.destinations.is_empty());
        }
        let nameless =
            json!({ "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {} });
        assert_eq!(read(&nameless), Reading::Skipped);
    }
}
