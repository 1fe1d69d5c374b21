//! The chart, rendered by Helm: what the overlays of kustomize are where both mean the same.
//!
//! Labels that Helm's charts have, and the digest that rolls a changed configuration out, which is a name in one and an
//! annotation in the other, are no difference.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use enforcer::config::Config;
use serde_json::{Value, json};
use tests::kube::helm;

use super::{CONFIG_MAP, DAEMON_SET, DEPLOY, daemon_set, documents, kubectls, rendered, said};

/// The last Kubernetes for which `overlays/before-1.30` are, and the first for which they are not.
const OLD: &str = "1.29.14";
const NEW: &str = "1.30.0";

/// What the chart gives its objects beside what the manifests give them.
const LABELS: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
];

const CHECKSUM: &str = "checksum/config";

fn chart() -> PathBuf {
    Path::new(DEPLOY).join("helm/enforcer")
}

/// `helm template` for a Kubernetes of `version`, with values as `--set` takes them.
fn template(helm: &Path, version: &str, values: &[&str]) -> Output {
    let mut command = Command::new(helm);
    command
        .args(["template", "enforcer"])
        .arg(chart())
        .args(["--namespace", "enforcer-system", "--skip-tests"])
        .args(["--kube-version", version]);
    for value in values {
        command.args(["--set", value]);
    }
    command.output().expect("it can be started")
}

/// What the chart renders to, by kind and name as [`rendered`] has it, without what is no difference.
fn charted(helm: &Path, version: &str, values: &[&str]) -> BTreeMap<String, Value> {
    let output = template(helm, version, values);
    assert!(output.status.success(), "{values:?}: {}", said(&output));
    let text = String::from_utf8(output.stdout).expect("YAML is UTF-8");
    let documents = documents(&text)
        .into_iter()
        .filter(|document| !document.is_null());
    documents
        .map(|mut document| {
            if let Some(labels) = document["metadata"]["labels"].as_object_mut() {
                labels.retain(|label, _| !LABELS.contains(&label.as_str()));
            }
            (
                format!("{} {}", document["kind"], document["metadata"]["name"]),
                document,
            )
        })
        .collect()
}

/// Takes the configuration out of a ConfigMap, which differs by its comments.
fn configuration(objects: &mut BTreeMap<String, Value>) -> Option<Value> {
    let map = objects.remove(CONFIG_MAP)?;
    let text = map["data"]["enforcer.yaml"].as_str().expect("it has the file");
    Some(serde_yaml::from_str(text).expect("it is YAML"))
}

/// Takes out what has the pods replaced when the configuration changes.
fn checksum(objects: &mut BTreeMap<String, Value>) -> Option<Value> {
    let metadata = objects
        .get_mut(DAEMON_SET)?
        .pointer_mut("/spec/template/metadata")?;
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let checksum = annotations.remove(CHECKSUM);
    if annotations.is_empty() {
        metadata.as_object_mut()?.remove("annotations");
    }
    checksum
}

/// What a value adds to what the chart renders to without it.
fn added(helm: &Path, version: &str, value: &str) -> BTreeMap<String, Value> {
    let without = charted(helm, version, &[]);
    let mut with = charted(helm, version, &[value]);
    with.retain(|name, _| !without.contains_key(name));
    with
}

#[test]
fn chart_is_what_the_overlays_are() {
    let Some(helm) = helm() else { return };
    let Some(kubectl) = kubectls().into_iter().next() else {
        println!("SKIPPED: no kubectl: run `cargo xtask test --kubernetes`");
        return;
    };
    let overlays: [(&str, &[&str]); 6] = [
        ("audit", &[]),
        ("enforce", &["mode=enforce"]),
        ("kind", &["mode=enforce", "image.pullPolicy=Never"]),
        ("boot", &["mode=enforce", "boot=true"]),
        ("uninstall", &["detach=true"]),
        ("uninstall-boot", &["detach=true", "boot=true"]),
    ];
    for (overlay, values) in overlays {
        for (version, folder) in [(NEW, "overlays"), (OLD, "overlays/before-1.30")] {
            let folder = format!("{folder}/{overlay}");
            let mut expected = rendered(&kubectl, &folder);
            let mut found = charted(&helm, version, &[values, &["namespace.create=true"]].concat());
            let configured = configuration(&mut found);
            assert_eq!(configured, configuration(&mut expected), "{folder}");
            assert_eq!(checksum(&mut found).is_some(), configured.is_some(), "{folder}");
            assert_eq!(found, expected, "{folder}");
        }
    }
    for (version, folder) in [(NEW, "crds"), (OLD, "overlays/before-1.30/crds")] {
        let found = added(&helm, version, "crds.install=true");
        assert_eq!(found, rendered(&kubectl, folder), "{folder}");
    }
    for (value, folder) in [
        ("removeTaint=true", "taint"),
        ("monitoring.podMonitor.enabled=true", "monitoring/podmonitor"),
        (
            "monitoring.serviceMonitor.enabled=true",
            "monitoring/servicemonitor",
        ),
        (
            "monitoring.rules.enabled=true,monitoring.dashboard.enabled=true",
            "monitoring",
        ),
    ] {
        let found = added(&helm, NEW, value);
        assert_eq!(found, rendered(&kubectl, folder), "{folder}");
    }
}

#[test]
fn chart_gives_monitors_their_labels_and_alerts_their_links() {
    let Some(helm) = helm() else { return };
    let objects = charted(
        &helm,
        NEW,
        &[
            "monitoring.rules.enabled=true",
            "monitoring.rules.labels.release=prometheus",
            "monitoring.rules.runbooks=https://git.example.com/enforcer/",
            "monitoring.podMonitor.enabled=true",
            "monitoring.podMonitor.interval=1m",
            "monitoring.podMonitor.labels.release=prometheus",
        ],
    );
    let monitor = &objects[r#""PodMonitor" "enforcer""#];
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["interval"], "1m");
    let rules = &objects[r#""PrometheusRule" "enforcer""#];
    assert_eq!(rules["metadata"]["labels"]["release"], "prometheus");
    let rules = rules.pointer("/spec/groups/0/rules").and_then(Value::as_array);
    for rule in rules.expect("it has rules") {
        let link = rule["annotations"]["runbook_url"]
            .as_str()
            .expect("it has a link");
        assert!(
            link.starts_with("https://git.example.com/enforcer/docs/operate.md#"),
            "{link}"
        );
    }
    for values in [
        [
            "monitoring.podMonitor.enabled=true",
            "monitoring.metrics.enabled=false",
        ],
        [
            "monitoring.podMonitor.enabled=true",
            "monitoring.serviceMonitor.enabled=true",
        ],
    ] {
        let output = template(&helm, NEW, &values);
        assert!(!output.status.success(), "{values:?}");
    }
}

#[test]
fn chart_passes_on_every_value() {
    let Some(helm) = helm() else { return };
    let mut objects = charted(
        &helm,
        NEW,
        &[
            "image.repository=registry.example.com/platform/enforcer",
            "image.pullSecrets={registry}",
            "resources.limits.memory=1Gi",
            "tolerations=null",
            "nodeSelector.pool=apps",
            "priorityClassName=high",
            "maxUnavailable=10%",
            "extraCapabilities={SYS_RESOURCE}",
            "podAnnotations.team=platform",
            "podLabels.team=platform",
            "meshRevisions={canary}",
            "excludedNamespaces={kube-system,monitoring}",
            "monitoring.metrics.address=10.0.0.1",
            "monitoring.metrics.port=9000",
            "config.capacities.exact=524288",
            "config.revoke=false",
        ],
    );
    let role = &objects[r#""ClusterRole" "enforcer""#];
    let names = role.pointer("/rules/6/resourceNames");
    assert_eq!(names, Some(&json!(["istio", "istio-canary"])));
    let set = daemon_set(&objects);
    let template = &set["spec"]["template"];
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"],
        json!({ "maxUnavailable": "10%" })
    );
    assert_eq!(template["metadata"]["labels"]["team"], "platform");
    assert_eq!(template["metadata"]["annotations"]["team"], "platform");
    let pod = &template["spec"];
    let node = json!({ "kubernetes.io/os": "linux", "pool": "apps" });
    assert_eq!(pod["nodeSelector"], node);
    assert_eq!(pod["priorityClassName"], "high");
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert!(pod["tolerations"].is_null(), "{}", pod["tolerations"]);
    let container = &pod["containers"][0];
    let image = "registry.example.com/platform/enforcer";
    assert_eq!(
        container["image"],
        format!("{image}:{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(container["resources"]["limits"], json!({ "memory": "1Gi" }));
    assert_eq!(container["ports"][0]["containerPort"], 9000);
    let capabilities = container.pointer("/securityContext/capabilities/add");
    let capabilities = capabilities.and_then(Value::as_array).expect("it has some");
    assert_eq!(capabilities.len(), 7);
    assert_eq!(capabilities[6], "SYS_RESOURCE");

    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("enforcer.yaml");
    let configured = configuration(&mut objects).expect("there is one");
    fs::write(&file, configured.to_string()).expect("there is room");
    let config = Config::load(&file).expect("it is understood");
    assert_eq!(config.capacities.exact, 524_288);
    assert!(!config.revoke);
    let scope = config.pods.expect("it enforces pods").scope;
    let mut excluded: Vec<_> = scope.excluded.iter().map(ToString::to_string).collect();
    excluded.sort_unstable();
    assert_eq!(excluded, ["kube-system", "monitoring"]);
    let listen = config.metrics.expect("it listens").listen;
    assert_eq!(listen.to_string(), "10.0.0.1:9000");

    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = charted(&helm, NEW, &[&format!("image.digest={digest}")]);
    let pinned = daemon_set(&pinned).pointer("/spec/template/spec/containers/0/image");
    assert_eq!(pinned, Some(&json!(format!("enforcer@{digest}"))));
}

#[test]
fn chart_replaces_pods_when_the_configuration_changes_alone() {
    let Some(helm) = helm() else { return };
    let rolled = |values: &[&str]| {
        let mut objects = charted(&helm, NEW, values);
        checksum(&mut objects).expect("it has one")
    };
    let plain = rolled(&[]);
    assert_eq!(plain, rolled(&["meshRevisions={canary}"]));
    assert_ne!(plain, rolled(&["mode=enforce"]));
    assert_ne!(plain, rolled(&["config.revoke=false"]));
}

#[test]
fn chart_refuses_values_that_it_does_not_know() {
    let Some(helm) = helm() else { return };
    for (value, said_of) in [
        ("mode=off", "mode"),
        ("excludeNamespaces={shop}", "excludeNamespaces"),
        ("image.digest=latest", "image.digest"),
        ("monitoring.metrics.port=70000", "monitoring.metrics.port"),
        ("monitoring.metrics.address=::", "monitoring.metrics.address"),
        ("maxUnavailable=0", "maxUnavailable"),
    ] {
        let output = template(&helm, NEW, &[value]);
        assert!(!output.status.success(), "{value}");
        assert!(said(&output).contains(said_of), "{value}: {}", said(&output));
    }
}

#[test]
fn chart_is_of_this_version_and_without_a_fault() {
    let Some(helm) = helm() else { return };
    let text = fs::read_to_string(chart().join("Chart.yaml")).expect("it is there");
    let description: Value = serde_yaml::from_str(&text).expect("it is YAML");
    for key in ["version", "appVersion"] {
        assert_eq!(description[key], env!("CARGO_PKG_VERSION"), "{key}");
    }
    let output = Command::new(&helm)
        .args(["lint", "--strict"])
        .arg(chart())
        .output()
        .expect("it can be started");
    assert!(output.status.success(), "{}", said(&output));
}
