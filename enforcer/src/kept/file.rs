//! The files of what is kept.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use enforcer_core::istio::PROXY_CONTAINER;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Place;
use crate::state;

/// The configuration.
pub(crate) const CONFIG: &str = "enforcer.yaml";
/// Addresses of hosts.
pub(crate) const NAMES: &str = "names.json";
/// Objects and the rest.
const KNOWN: &str = "known.json";
/// What the manifest tells a pod, as systemd reads it (`EnvironmentFile=`).
const ENVIRONMENT: &str = "environment";

/// What a policy depends on in a pod.
const OF_METADATA: [&str; 9] = [
    "namespace",
    "name",
    "uid",
    "labels",
    "annotations",
    "ownerReferences",
    "creationTimestamp",
    "deletionTimestamp",
    "generateName",
];
const OF_SPEC: [&str; 4] = ["nodeName", "hostNetwork", "dnsPolicy", "dnsConfig"];

/// What was known when it was kept last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Known {
    /// The kubelet's cgroups of all pods.
    pub(crate) roots: Vec<PathBuf>,
    /// Resolvers that were asked.
    pub(crate) servers: Vec<SocketAddr>,
    /// Objects of the API server.
    pub(crate) objects: Vec<Value>,
}

impl Known {
    /// Reads it.
    ///
    /// # Errors
    /// If it is not there, or damaged.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(KNOWN);
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }
}

/// What `kubectl apply` writes.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What is kept of an object. Pods of this node get other addresses after a boot, and do not run yet.
pub(super) fn essence(object: &Value, node: &str) -> Value {
    if object["kind"] != "Pod" {
        return object.clone();
    }
    let part = |name: &str, keys: &[&str]| -> Value {
        let fields = object[name].as_object().into_iter().flatten();
        let fields = fields.filter(|(key, _)| keys.contains(&key.as_str()));
        let fields: Map<_, _> = fields.map(|(key, value)| (key.clone(), value.clone())).collect();
        fields.into()
    };
    let mut pod = json!({
        "apiVersion": object["apiVersion"],
        "kind": "Pod",
        "metadata": part("metadata", &OF_METADATA),
        "spec": part("spec", &OF_SPEC),
    });
    // By its name, that there is a proxy.
    for list in ["containers", "initContainers"] {
        let containers = object["spec"][list].as_array().into_iter().flatten();
        let proxies = containers.filter(|container| container["name"] == PROXY_CONTAINER);
        let proxies: Vec<_> = proxies.map(|_| json!({"name": PROXY_CONTAINER})).collect();
        if !proxies.is_empty() {
            pod["spec"][list] = proxies.into();
        }
    }
    // It has all of the pod once more.
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    if object["spec"]["nodeName"] != node {
        pod["status"] = part("status", &["phase", "podIP", "podIPs"]);
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        if let Some(ready) = ready.next() {
            pod["status"]["conditions"] = json!([{"type": "Ready", "status": ready["status"]}]);
        }
    }
    pod
}

/// The text of [`KNOWN`], one line for each object.
pub(super) fn known(roots: &BTreeSet<PathBuf>, servers: &[SocketAddr], objects: &[&str]) -> String {
    let (roots, servers) = (json!(roots), json!(servers));
    let objects = objects.join(",\n");
    format!("{{\"roots\":{roots},\"servers\":{servers},\"objects\":[\n{objects}\n]}}\n")
}

/// Writes all files that differ from those that are there. `known` is None if that has not changed.
pub(super) fn write(place: &Place, known: Option<&str>) -> Result<()> {
    let folder = &place.folder;
    let names = match fs::read_to_string(&place.names) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.with_context(|| format!("reading {}", place.names.display()))?),
    };
    let of_manifest = [
        ("NODE_NAME", Some(place.node.as_str())),
        ("POD_NAMESPACE", place.namespace.as_deref()),
    ];
    let lines = of_manifest
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}\n", (*value)?)));
    let environment: String = lines.collect();
    let files = [
        (ENVIRONMENT, Some(environment.as_str())),
        (CONFIG, Some(place.config.as_str())),
        (NAMES, names.as_deref()),
        (KNOWN, known),
    ];
    state::own(folder)?;
    for (name, text) in files {
        let path = folder.join(name);
        if let Some(text) = text.filter(|text| !is_written(&path, text)) {
            replace(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn is_written(path: &Path, text: &str) -> bool {
    fs::read(path).is_ok_and(|there| there == text.as_bytes())
}

/// Replaces a file at once, for root alone; after a crash of the machine it is the old one or the new one.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let replaced = write_new(&new, text).and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // Half of it only takes room on a disk that may be full.
        fs::remove_file(&new).ok();
    }
    replaced
}

fn write_new(new: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn place(folder: &Path) -> Place {
        Place {
            folder: folder.join("kept"),
            config: "pods: {}\n".to_owned(),
            node: "n1".to_owned(),
            namespace: Some("enforcer-system".to_owned()),
            names: folder.join("names.json"),
        }
    }

    #[test]
    fn what_is_written_is_read_by_root_alone_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        assert!(Known::read(&place.folder).is_err(), "there is nothing yet");
        let servers = vec!["10.96.0.10:53".parse().unwrap()];
        let roots = BTreeSet::from([PathBuf::from("/kubepods")]);
        let objects = [r#"{"kind":"Namespace"}"#, r#"{"kind":"Node"}"#];
        write(&place, Some(&known(&roots, &servers, &objects))).unwrap();
        let read = Known::read(&place.folder).unwrap();
        assert_eq!(read.roots, roots.into_iter().collect::<Vec<_>>());
        assert_eq!((read.servers, read.objects.len()), (servers, 2));
        let environment = fs::read_to_string(place.folder.join(ENVIRONMENT)).unwrap();
        assert_eq!(environment, "NODE_NAME=n1\nPOD_NAMESPACE=enforcer-system\n");
        for (name, mode) in [("", 0o700), (KNOWN, 0o600), (CONFIG, 0o600)] {
            let there = fs::metadata(place.folder.join(name)).unwrap();
            assert_eq!(there.permissions().mode() & 0o777, mode, "{name}");
        }
        // What a later version has kept besides means nothing here.
        let later = r#"{"version": 2, "roots": ["/kubepods"], "zones": [], "objects": [{"kind": "Node"}]}"#;
        fs::write(place.folder.join(KNOWN), later).unwrap();
        assert_eq!(Known::read(&place.folder).unwrap().objects.len(), 1);
        fs::write(place.folder.join(KNOWN), "{\"roots\":[").unwrap();
        assert!(Known::read(&place.folder).is_err());
    }

    #[test]
    fn of_a_pod_its_policy_is_kept_and_neither_secrets_nor_an_address_that_goes_with_the_boot() {
        let pod = |node: &str| {
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "uid": "u", "labels": {"app": "a"}, "resourceVersion": "1"},
                "spec": {"nodeName": node, "hostNetwork": true, "containers": [
                    {"name": "app", "env": [{"value": "secret"}]},
                    {"name": "istio-proxy", "env": [{"value": "secret"}]},
                ]},
                "status": {"podIP": "10.0.0.1", "containerStatuses": [], "conditions": [
                    {"type": "Ready", "status": "True", "lastTransitionTime": "t"}, {"type": "Initialized"},
                ]},
            })
        };
        let own = essence(&pod("n1"), "n1");
        let containers = json!([{"name": "istio-proxy"}]);
        assert_eq!(
            own["spec"],
            json!({"nodeName": "n1", "hostNetwork": true, "containers": containers})
        );
        assert_eq!(own["metadata"]["labels"], json!({"app": "a"}));
        assert_eq!(own["status"], Value::Null);
        let ready = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(
            essence(&pod("n2"), "n1")["status"],
            json!({"podIP": "10.0.0.1", "conditions": ready})
        );
        assert!(!own.to_string().contains("secret"));
    }
}
