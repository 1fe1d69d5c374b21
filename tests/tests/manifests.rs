//! What operators apply: the manifests, the chart and the unit in `deploy/`.

#[path = "manifests/helm.rs"]
mod helm;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use enforcer::config::Config;
use serde_json::{Value, json};
use tests::kube::built;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// Everything that `kubectl apply -k` is given.
const FOLDERS: [&str; 19] = [
    "crds",
    "overlays/audit",
    "overlays/boot",
    "overlays/enforce",
    "overlays/kind",
    "overlays/uninstall",
    "overlays/uninstall-boot",
    "taint",
    "monitoring",
    "monitoring/podmonitor",
    "monitoring/servicemonitor",
    "overlays/before-1.30/crds",
    "overlays/before-1.30/audit",
    "overlays/before-1.30/boot",
    "overlays/before-1.30/enforce",
    "overlays/before-1.30/kind",
    "overlays/before-1.30/uninstall",
    "overlays/before-1.30/uninstall-boot",
    "examples/overlay",
];

/// The oldest kubectl whose kustomize takes folders as resources, and components.
const OLDEST: u64 = 21;

/// Which AppArmor profile a container has, before there was a field.
const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io";

/// How long kustomize's digests are.
const DIGEST: usize = 10;

/// What [`rendered`] calls the two objects in which overlays differ.
const DAEMON_SET: &str = r#""DaemonSet" "enforcer""#;
const CONFIG_MAP: &str = r#""ConfigMap" "enforcer""#;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(DEPLOY).join(file)).expect("the file is there")
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).expect("it is YAML")
}

fn document(file: &str) -> Value {
    serde_yaml::from_str(&read(file)).expect("it is one document")
}

/// The machine's kubectl, and those beside the API servers that tests run: each has a kustomize of its own.
fn kubectls() -> Vec<PathBuf> {
    let folders = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).into_iter();
    let folders = folders.chain(built());
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<_> = env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .collect();
    found.retain(|file| file.is_file());
    found.truncate(1);
    found.extend(
        folders
            .map(|folder| folder.join("kubectl"))
            .filter(|file| file.is_file()),
    );
    found.dedup();
    found.retain(|file| is_new_enough(file));
    found
}

fn is_new_enough(kubectl: &Path) -> bool {
    let version = Command::new(kubectl)
        .args(["version", "--client", "--output=json"])
        .output();
    let version = version.expect("it can be started").stdout;
    let version: Value = serde_json::from_slice(&version).expect("it says its version");
    let minor = version["clientVersion"]["minor"]
        .as_str()
        .expect("it has a minor");
    let is_new = minor
        .trim_end_matches('+')
        .parse()
        .is_ok_and(|minor: u64| minor >= OLDEST);
    if !is_new {
        println!(
            "{} of 1.{minor} is not asked: its kustomize is too old",
            kubectl.display()
        );
    }
    is_new
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// What a folder renders to, by kind and name, whatever the order. The digest in a ConfigMap's name, which versions
/// of kustomize compute differently, is left out.
fn rendered(kubectl: &Path, folder: &str) -> BTreeMap<String, Value> {
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(Path::new(DEPLOY).join(folder))
        .output()
        .expect("it can be started");
    // Warnings are of what is deprecated.
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{folder} by {}: {}",
        kubectl.display(),
        said(&output)
    );
    let text = String::from_utf8(output.stdout).expect("YAML is UTF-8");
    let maps = documents(&text)
        .into_iter()
        .filter(|document| document["kind"] == "ConfigMap");
    let text = maps.fold(text.clone(), |text, map| {
        let name = map["metadata"]["name"].as_str().expect("it has a name");
        // What a kustomization has without one is found by that name.
        match name.rsplit_once('-') {
            Some((plain, digest)) if digest.len() == DIGEST => text.replace(name, plain),
            _ => text,
        }
    });
    documents(&text)
        .into_iter()
        .map(|document| {
            (
                format!("{} {}", document["kind"], document["metadata"]["name"]),
                document,
            )
        })
        .collect()
}

fn daemon_set(objects: &BTreeMap<String, Value>) -> &Value {
    &objects[DAEMON_SET]
}

#[test]
fn every_kustomize_renders_the_same() {
    let kubectls = kubectls();
    let Some((first, others)) = kubectls.split_first() else {
        println!("SKIPPED: no kubectl: run `cargo xtask test --kubernetes`");
        return;
    };
    for folder in FOLDERS {
        let expected = rendered(first, folder);
        assert!(!expected.is_empty());
        for other in others {
            assert_eq!(
                rendered(other, folder),
                expected,
                "{folder} by {}",
                other.display()
            );
        }
    }
}

#[test]
fn uninstaller_is_what_it_replaces_without_any_capability() {
    let Some(kubectl) = kubectls().into_iter().next() else {
        println!("SKIPPED: no kubectl: run `cargo xtask test --kubernetes`");
        return;
    };
    let installed = rendered(&kubectl, "overlays/enforce");
    let uninstaller = rendered(&kubectl, "overlays/uninstall");
    // Deleting the uninstaller deletes all but the configuration, which is deleted by its own overlay.
    let kept = installed.keys().filter(|name| !uninstaller.contains_key(*name));
    assert!(kept.clone().count() == 1 && kept.clone().all(|name| name.starts_with("\"ConfigMap\"")));
    let (installed, uninstaller) = (daemon_set(&installed), daemon_set(&uninstaller));
    assert_eq!(installed["spec"]["selector"], uninstaller["spec"]["selector"]);
    let pod = &uninstaller["spec"]["template"]["spec"];
    for container in [&pod["initContainers"][0], &pod["containers"][0]] {
        assert_eq!(
            container["image"],
            installed["spec"]["template"]["spec"]["containers"][0]["image"]
        );
        assert_eq!(container["args"][0], "detach");
        assert_eq!(
            container["securityContext"]["capabilities"],
            json!({ "drop": ["ALL"] })
        );
    }
    for kind in ["initContainers", "containers"] {
        assert_eq!(pod[kind].as_array().map(Vec::len), Some(1), "{kind}");
    }
}

#[test]
fn overlays_before_1_30_differ_in_how_they_name_the_apparmor_profile() {
    for kubectl in kubectls() {
        for overlay in ["audit", "boot", "enforce", "kind", "uninstall", "uninstall-boot"] {
            let mut new = rendered(&kubectl, &format!("overlays/{overlay}"));
            let mut old = rendered(&kubectl, &format!("overlays/before-1.30/{overlay}"));
            let new_pod = &mut new.get_mut(DAEMON_SET).expect("it is there")["spec"]["template"];
            let old_pod = &mut old.get_mut(DAEMON_SET).expect("it is there")["spec"]["template"];
            let profile = json!({ "appArmorProfile": { "type": "Unconfined" } });
            assert_eq!(new_pod["spec"]["securityContext"].take(), profile, "{overlay}");
            let annotations = old_pod["metadata"]["annotations"].take();
            let containers = ["initContainers", "containers"]
                .into_iter()
                .filter_map(|kind| old_pod["spec"][kind].as_array())
                .flatten();
            let expected: BTreeMap<String, &str> = containers
                .map(|container| {
                    let name = container["name"].as_str().expect("it has a name");
                    (format!("{APPARMOR}/{name}"), "unconfined")
                })
                .collect();
            assert_eq!(annotations, json!(expected), "{overlay}");
            new_pod["spec"]["securityContext"] = old_pod["spec"]["securityContext"].take();
            new_pod["metadata"]["annotations"] = Value::Null;
            old_pod["metadata"]["annotations"] = Value::Null;
            old_pod["spec"]["securityContext"] = Value::Null;
            assert_eq!(new, old, "{overlay}");
        }
    }
}

#[test]
fn configuration_of_every_overlay_is_understood() {
    let folder = tempfile::tempdir().expect("there is room");
    let check = |text: &str| {
        let file = folder.path().join("enforcer.yaml");
        fs::write(&file, text).expect("there is room");
        let config = Config::load(&file).expect("it is understood");
        assert!(config.kubernetes.is_some() && config.pods.is_some());
    };
    for overlay in ["audit", "enforce"] {
        check(&read(&format!("overlays/{overlay}/enforcer.yaml")));
    }
    for kubectl in kubectls() {
        for overlay in ["audit", "boot", "enforce", "kind"] {
            let objects = rendered(&kubectl, &format!("overlays/{overlay}"));
            let map = &objects[CONFIG_MAP];
            check(map["data"]["enforcer.yaml"].as_str().expect("it has the file"));
        }
    }
}

#[test]
fn overlay_of_ones_own_changes_what_it_names_and_nothing_else() {
    let Some(kubectl) = kubectls().into_iter().next() else {
        println!("SKIPPED: no kubectl: run `cargo xtask test --kubernetes`");
        return;
    };
    let mut plain = rendered(&kubectl, "overlays/enforce");
    let mut own = rendered(&kubectl, "examples/overlay");
    let map = own[CONFIG_MAP].clone();
    let text = map["data"]["enforcer.yaml"].as_str().expect("it has the file");
    assert_eq!(text, read("examples/overlay/enforcer.yaml"));
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("enforcer.yaml");
    fs::write(&file, text).expect("there is room");
    let config = Config::load(&file).expect("it is understood");
    let pods = config.pods.expect("it enforces pods");
    let excluded: Vec<_> = pods.scope.excluded.iter().map(ToString::to_string).collect();
    assert!(excluded.contains(&"monitoring".to_owned()), "{excluded:?}");
    assert_eq!(config.capacities.exact, 524_288);

    let pod = &daemon_set(&own)["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["image"],
        concat!(
            "registry.example.com/platform/enforcer:",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "registry" }]));
    assert_eq!(
        pod["containers"][0]["resources"],
        json!({ "requests": { "cpu": "100m", "memory": "256Mi" }, "limits": { "memory": "1Gi" } })
    );
    // What it has changed, taken back.
    for objects in [&mut plain, &mut own] {
        objects.remove(CONFIG_MAP).expect("there is one");
        let set = objects.get_mut(DAEMON_SET).expect("there is one");
        let pod = set
            .pointer_mut("/spec/template/spec")
            .and_then(Value::as_object_mut)
            .expect("it has a pod");
        pod.remove("imagePullSecrets");
        for kind in ["initContainers", "containers"] {
            for container in pod[kind].as_array_mut().expect("it has some") {
                container["image"].take();
            }
        }
        pod["containers"][0]["resources"].take();
    }
    assert_eq!(own, plain);
}

#[test]
fn container_has_what_enforcing_takes_and_knows_its_own_pod() {
    let set = document("base/daemonset.yaml");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let capabilities = json!({
        "drop": ["ALL"],
        "add": ["BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE", "DAC_OVERRIDE"],
    });
    assert_eq!(container["securityContext"]["capabilities"], capabilities);
    let variables = container["env"].as_array().expect("it has an environment");
    let names: Vec<_> = variables
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    assert_eq!(names, ["NODE_NAME", "POD_UID", "POD_NAMESPACE"]);
}

#[test]
fn configurations_listen_for_prometheus_at_the_port_that_the_container_names() {
    let set = document("base/daemonset.yaml");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let port = json!([{ "name": "metrics", "containerPort": 9967, "protocol": "TCP" }]);
    assert_eq!(container["ports"], port);
    for file in [
        "overlays/audit/enforcer.yaml",
        "overlays/enforce/enforcer.yaml",
        "examples/overlay/enforcer.yaml",
    ] {
        assert_eq!(
            document(file)["metrics"],
            json!({ "listen": "[::]:9967" }),
            "{file}"
        );
    }
}

/// Where the unit, the overlay that installs it and the one that removes it have the binary and what is kept.
#[test]
fn unit_of_the_boot_is_removed_from_where_it_is_installed() {
    let Some(kubectl) = kubectls().into_iter().next() else {
        println!("SKIPPED: no kubectl: run `cargo xtask test --kubernetes`");
        return;
    };
    let pod = |overlay: &str| {
        let objects = rendered(&kubectl, overlay);
        daemon_set(&objects)["spec"]["template"]["spec"].clone()
    };
    let container = |pod: &Value, name: &str| {
        let all = ["initContainers", "containers"];
        let mut all = all
            .iter()
            .flat_map(|kind| pod[kind].as_array().into_iter().flatten());
        all.find(|it| it["name"] == name).cloned().expect("it is there")
    };
    let (boot, uninstall) = (pod("overlays/boot"), pod("overlays/uninstall-boot"));
    let install = container(&boot, "install-boot");
    let mut removed = container(&uninstall, "remove-boot");
    let arguments = removed["args"].as_array_mut().expect("it has arguments");
    arguments.retain(|argument| argument != "--remove");
    for key in ["args", "volumeMounts", "image", "securityContext"] {
        assert_eq!(install[key], removed[key], "{key}");
    }
    let enforce = pod("overlays/enforce");
    let before = container(&enforce, "enforcer")["args"]
        .as_array()
        .cloned()
        .expect("it has arguments");
    let after = container(&boot, "enforcer")["args"]
        .as_array()
        .cloned()
        .expect("it has arguments");
    assert!(after.starts_with(&before), "{after:?}");
    assert_eq!(after[before.len()..], ["--keep-for-boot", "/opt/enforcer/boot"]);
    let unit = read("systemd/enforcer-boot.service");
    assert!(unit.contains("ExecStart=/opt/enforcer/enforcer boot --from /opt/enforcer/boot\n"));
}

#[test]
fn audit_and_enforce_differ_in_the_mode_alone() {
    let mut audit = document("overlays/audit/enforcer.yaml");
    let mut enforce = document("overlays/enforce/enforcer.yaml");
    assert_eq!(audit["mode"].take(), "audit");
    assert_eq!(enforce["mode"].take(), "enforce");
    assert_eq!(audit, enforce);
    let kustomization = |overlay: &str| document(&format!("overlays/{overlay}/kustomization.yaml"));
    assert_eq!(kustomization("audit"), kustomization("enforce"));
}

#[test]
fn overlays_name_the_version_that_image_writes() {
    for overlay in ["audit", "boot", "enforce", "uninstall", "uninstall-boot"] {
        let kustomization = document(&format!("overlays/{overlay}/kustomization.yaml"));
        let image = json!([{ "name": "enforcer", "newTag": env!("CARGO_PKG_VERSION") }]);
        assert_eq!(kustomization["images"], image, "{overlay}");
    }
}

#[test]
fn rights_are_to_read_and_to_write_events() {
    let roles: Vec<_> = documents(&read("base/rbac.yaml"))
        .into_iter()
        .filter(|document| document["kind"] == "ClusterRole")
        .collect();
    assert_eq!(roles.len(), 1);
    let rules = roles[0]["rules"].as_array().expect("a role has rules");
    for rule in rules {
        if rule["resources"] == json!(["events"]) {
            assert_eq!(rule["verbs"], json!(["create", "patch"]));
        } else {
            assert_eq!(rule["verbs"], json!(["get", "list", "watch"]), "{rule}");
        }
        // Secrets may lie in ConfigMaps as well.
        if rule["resources"] == json!(["configmaps"]) {
            assert_eq!(rule["resourceNames"], json!(["istio"]));
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().expect("there is room");
    let units = [
        "enforcer.service",
        "enforcer-in-force.service",
        "enforcer-boot.service",
    ];
    let units = units.map(|name| {
        let unit = folder.path().join(name);
        // It looks for the binary too, which is not installed here.
        let text = read(&format!("systemd/{name}"))
            .replace("/usr/local/sbin/enforcer", "/bin/true")
            .replace("/opt/enforcer/enforcer", "/bin/true");
        fs::write(&unit, text).expect("there is room");
        unit
    });
    match Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
    {
        Err(error) => println!("SKIPPED: no systemd-analyze: {error}"),
        // Lines and keys that it does not know are warnings.
        Ok(output) => assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            said(&output)
        ),
    }
}
