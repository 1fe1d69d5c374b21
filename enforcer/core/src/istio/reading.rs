//! From the value of a document to a valid object, or to what is wrong with it.

use serde_json::Value;

use super::{
    endpoint_slice, machine, mesh_config,
    meta::{self, Scope},
    namespace,
    node::{Findings, Node},
    object::{Kind, Meta, Object, ObjectId},
    pod,
    problem::{Invalid, Problem},
    service, service_entry, sidecar, virtual_service, workload_entry,
};
use crate::{
    model::Namespace,
    yaml::{Field, Step},
};

/// What a document says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// Something that is no part of the registry.
    Skipped,
    /// An object, with what is suspicious about it.
    Valid(Object, Vec<Problem>),
    /// An object of a kind that is part of the registry, or nothing that Kubernetes knows as an object.
    Invalid(Invalid),
}

/// Kinds by group and name, with the versions that are served.
const KINDS: [(&str, &str, &[&str], Kind); 10] = [
    (
        "networking.istio.io",
        "ServiceEntry",
        ISTIO_VERSIONS,
        Kind::ServiceEntry,
    ),
    (
        "networking.istio.io",
        "WorkloadEntry",
        ISTIO_VERSIONS,
        Kind::WorkloadEntry,
    ),
    ("networking.istio.io", "Sidecar", ISTIO_VERSIONS, Kind::Sidecar),
    (
        "networking.istio.io",
        "VirtualService",
        ISTIO_VERSIONS,
        Kind::VirtualService,
    ),
    ("", "ConfigMap", &["v1"], Kind::MeshConfig),
    ("", "Service", &["v1"], Kind::Service),
    ("", "Pod", &["v1"], Kind::Pod),
    ("", "Namespace", &["v1"], Kind::Namespace),
    ("", "Node", &["v1"], Kind::Node),
    (
        "discovery.k8s.io",
        "EndpointSlice",
        &["v1", "v1beta1"],
        Kind::EndpointSlice,
    ),
];

/// The versions of `networking.istio.io`; all have the same schema.
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// Reads one object, from a file or from the API server.
pub fn read(document: &Value) -> Reading {
    let root = Node::root(document);
    let mut found = Findings::default();
    if !document.is_object() {
        found.error(
            &root,
            "is not a Kubernetes object: a mapping with apiVersion, kind and metadata",
        );
        return invalid(None, found);
    }
    let kind_name = root.get("kind").text(&mut found);
    if kind_name.is_empty() && !found.is_mistyped {
        found.error(&root.get("kind"), "Required value");
    }
    if kind_name == "MeshConfig" {
        return read_mesh_config(&root, found);
    }
    let api_version = root.get("apiVersion").text(&mut found);
    if api_version.is_empty() && !found.is_mistyped {
        found.error(&root.get("apiVersion"), "Required value");
    }
    if !found.errors.is_empty() {
        return invalid(None, found);
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let known = KINDS
        .iter()
        .find(|(known_group, name, ..)| *known_group == group && *name == kind_name);
    let Some((_, _, versions, kind)) = known else {
        return Reading::Skipped;
    };
    if !versions.contains(&version) {
        let message = format!(
            "no matches for kind {kind_name:?} in version {api_version:?}: served are {}",
            versions.join(", ")
        );
        found.error(&root.get("apiVersion"), message);
    }
    read_kind(&root, *kind, found)
}

fn read_kind(root: &Node<'_>, kind: Kind, mut found: Findings) -> Reading {
    if kind == Kind::MeshConfig && !mesh_config::is_in_config_map(root) {
        return Reading::Skipped;
    }
    let scope = if matches!(kind, Kind::Namespace | Kind::Node) {
        Scope::Cluster
    } else {
        Scope::Namespaced
    };
    let Some(meta) = meta::read(root, scope, &mut found) else {
        // It changes nothing that is allowed, so that nothing of it is an error.
        let is_for_warnings = kind == Kind::VirtualService;
        return if is_for_warnings {
            Reading::Skipped
        } else {
            invalid(None, found)
        };
    };
    let id = ObjectId {
        kind,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    };
    let is_istio = matches!(kind, Kind::ServiceEntry | Kind::WorkloadEntry | Kind::Sidecar);
    if is_istio && !meta::check_annotations(root, &meta, &mut found) {
        return invalid(Some(id), found);
    }
    let object = match kind {
        Kind::ServiceEntry => service_entry::read(root, meta, &mut found),
        Kind::WorkloadEntry => workload_entry::read(root, meta, &mut found),
        Kind::Sidecar => sidecar::read(root, meta, &mut found),
        Kind::VirtualService => {
            return Reading::Valid(virtual_service::read(root.value(), meta), Vec::new());
        }
        Kind::MeshConfig => mesh_config::read_config_map(root, meta, &mut found),
        Kind::Service => service::read(root, meta, &mut found),
        Kind::EndpointSlice => endpoint_slice::read(root, meta, &mut found),
        Kind::Pod => pod::read(root, meta, &mut found),
        Kind::Namespace => Some(namespace::read(meta)),
        Kind::Node => Some(machine::read(root, meta, &mut found)),
    };
    conclude(id, object, found)
}

/// A bare MeshConfig is not an object of the API: it needs neither a version nor a name.
fn read_mesh_config(root: &Node<'_>, mut found: Findings) -> Reading {
    let meta = if root.get("metadata").get("name").is_set() {
        meta::read(root, Scope::Namespaced, &mut found)
    } else {
        Some(mesh_config::default_meta())
    };
    let Some(meta) = meta else {
        return invalid(None, found);
    };
    let meta = Meta {
        namespace: if root.get("metadata").get("namespace").is_set() {
            meta.namespace
        } else {
            Namespace::new(mesh_config::ROOT_NAMESPACE)
        },
        ..meta
    };
    let id = ObjectId {
        kind: Kind::MeshConfig,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
    };
    let object = mesh_config::read(root, meta, &mut found);
    conclude(id, object, found)
}

fn conclude(id: ObjectId, object: Option<Object>, found: Findings) -> Reading {
    match object {
        Some(object) if found.errors.is_empty() => Reading::Valid(object, found.warnings),
        _ => invalid(Some(id), found),
    }
}

fn invalid(id: Option<ObjectId>, found: Findings) -> Reading {
    Reading::Invalid(Invalid {
        id,
        errors: found.errors,
        warnings: found.warnings,
    })
}

/// The objects in a document with the way to each: itself, or the items of a `List`, however nested.
pub fn unfold(document: &Value) -> Vec<(Field, &Value)> {
    let mut objects = Vec::new();
    collect(document, &mut Vec::new(), &mut objects);
    objects
}

fn collect<'a>(value: &'a Value, way: &mut Vec<Step>, objects: &mut Vec<(Field, &'a Value)>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    let items = value["items"].as_array().filter(|_| is_list);
    let Some(items) = items else {
        objects.push((way.iter().cloned().collect(), value));
        return;
    };
    way.push(Step::Key("items".to_owned()));
    for (index, item) in items.iter().enumerate() {
        way.push(Step::Index(index));
        collect(item, way, objects);
        way.pop();
    }
    way.pop();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(api_version: &str) -> Value {
        json!({
            "apiVersion": api_version,
            "kind": "ServiceEntry",
            "metadata": {"name": "db"},
            "spec": {"hosts": ["db.example.com"], "unheardOf": {"deep": [1]}},
        })
    }

    #[test]
    fn every_served_version_is_read_and_unknown_fields_are_ignored() {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            let reading = read(&entry(&format!("networking.istio.io/{version}")));
            let Reading::Valid(object, warnings) = reading else {
                panic!("{reading:?}")
            };
            assert_eq!(object.id().to_string(), "ServiceEntry default/db");
            assert_eq!(warnings, []);
        }
    }

    #[test]
    fn version_that_is_not_served_is_an_error() {
        let Reading::Invalid(invalid) = read(&entry("networking.istio.io/v2")) else {
            panic!("it is not served")
        };
        assert_eq!(invalid.id.unwrap().name, "db");
        assert_eq!(invalid.errors[0].field.to_string(), "apiVersion");
    }

    #[test]
    fn kinds_of_others_are_skipped() {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("networking.istio.io/v1", "DestinationRule"),
            ("serving.knative.dev/v1", "Service"),
        ] {
            let document = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
            assert_eq!(read(&document), Reading::Skipped);
        }
    }

    #[test]
    fn what_is_no_object_is_invalid() {
        for (document, field) in [
            (json!([1]), ""),
            (json!("text"), ""),
            (json!({"a": 1}), "kind"),
            (json!({"kind": "ServiceEntry"}), "apiVersion"),
            (json!({"kind": 1, "apiVersion": "v1"}), "kind"),
            (json!({"kind": "Pod", "apiVersion": "v1"}), "metadata"),
            (
                json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": null}}),
                "metadata.name",
            ),
            (
                json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "A_b"}}),
                "metadata.name",
            ),
        ] {
            let Reading::Invalid(invalid) = read(&document) else {
                panic!("{document} is no object")
            };
            assert_eq!(invalid.errors[0].field.to_string(), field, "{document}");
        }
    }

    #[test]
    fn annotations_that_the_webhook_refuses_are_refused() {
        for (key, message) in [
            (
                "istio.io/dry-run",
                "default/db has unsupported annotation istio.io/dry-run",
            ),
            (
                "internal.istio.io/parents",
                "\"internal.istio.io/parents\" annotation found",
            ),
        ] {
            let mut document = entry("networking.istio.io/v1");
            document["metadata"]["annotations"] = json!({key: "x"});
            let Reading::Invalid(invalid) = read(&document) else {
                panic!("{key} is refused")
            };
            assert!(
                invalid.errors[0].message.starts_with(message),
                "{}",
                invalid.errors[0]
            );
        }
    }

    #[test]
    fn lists_are_unfolded_with_the_way_to_each_item() {
        let inner = json!({"kind": "List", "apiVersion": "v1", "items": [entry("v1")]});
        let list = json!({"kind": "List", "apiVersion": "v1", "items": [entry("v1"), inner]});
        let ways: Vec<_> = unfold(&list)
            .into_iter()
            .map(|(way, _)| way.to_string())
            .collect();
        assert_eq!(ways, ["items[0]", "items[1].items[0]"]);
    }
}
