//! `enforcer wait` and the plugin of kubectl beside a real API server; with enforcers in pods: `node.rs`.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    os::unix::{fs::symlink, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{
    daemon::Place,
    fixture::tied,
    kube::{Api, Server, with_server},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {kubernetes: {kubeconfig: $KUBECONFIG, node: n1}}
workloads:
- {namespace: frontend, name: web, labels: {app: web}, cgroup: $CGROUP/frontend}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

const ENTRIES: &str = "/apis/networking.istio.io/v1beta1/serviceentries";

const NAMESPACES: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: frontend}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: enforcer-system}}
";

/// Who may list pods, and nothing else.
const ACCOUNT: &str = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: lister, namespace: default}}";

const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lister}
rules: [{apiGroups: [''], resources: [pods], verbs: [list]}]
";

const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lister}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lister}
subjects: [{kind: ServiceAccount, namespace: default, name: lister}]
";

fn entry(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1beta1\nkind: ServiceEntry\nmetadata: {{name: db, namespace: frontend}}\n\
         spec:\n  hosts: [db.example.com]\n  addresses: [{address}]\n  exportTo: ['.']\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Runs `claim` with an API server without entries and enforcers' pods.
fn check(claim: impl FnOnce(&mut Server, &Api) -> Result<()> + Send) {
    with_server(|server| {
        let admin = server.admin()?;
        admin.apply(NAMESPACES)?;
        for path in [ENTRIES, "/api/v1/namespaces/enforcer-system/pods"] {
            for object in admin.list(path)? {
                let mut object = object;
                if object.get("kind").is_none() {
                    let is_pod = path.ends_with("pods");
                    object["kind"] = json!(if is_pod { "Pod" } else { "ServiceEntry" });
                    object["apiVersion"] = json!(if is_pod {
                        "v1"
                    } else {
                        "networking.istio.io/v1beta1"
                    });
                }
                admin.delete(&object.to_string())?;
            }
        }
        claim(server, &admin)
    })
    .unwrap();
}

fn version(admin: &Api) -> Result<String> {
    let found = admin.list(ENTRIES)?;
    let version = found.first().context("it is there")?["metadata"]["resourceVersion"].clone();
    Ok(version.as_str().context("it has a version")?.to_owned())
}

#[test]
fn version_of_the_api_server_is_in_force_once_it_was_waited_for() {
    check(|server, admin| {
        let kubeconfig = server.kubeconfig("admin", &json!({ "token": "admin" }))?;
        let config = CONFIG.replace("$KUBECONFIG", &kubeconfig.display().to_string());
        let mut place = Place::with_bpffs(BINARY, &config)?;
        place.cgroup.child("frontend")?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.until_status("proof", |status| status.proven)?;
        let waiting = |place: &Place, version: &str| -> Result<(Option<i32>, String)> {
            let arguments = ["wait", "--for", "se", "--timeout", "60s", "--version", version];
            Ok(said(
                &place
                    .command(&[&arguments[..], &["frontend/db"]].concat())
                    .output()?,
            ))
        };
        for round in 1..40_u8 {
            let to = format!("198.51.100.{round}:5432");
            ensure!(!place.reaches("frontend", &to)?);
            admin.apply(&entry(&format!("198.51.100.{round}")))?;
            let (code, text) = waiting(&place, &version(admin)?)?;
            ensure!(code == Some(0), "round {round}: {text}");
            ensure!(place.reaches("frontend", &to)?, "refused in round {round}");
        }
        // The second time, the enforcer has nothing new to say of it but that it has seen the version.
        for round in 0..3 {
            let wrong = entry("198.51.100.1/99")
                .replace("name: db,", &format!("labels: {{round: r{round}}}, name: db,"));
            admin.apply(&wrong)?;
            let (code, text) = waiting(&place, &version(admin)?)?;
            ensure!(code == Some(1), "{text}");
            ensure!(
                text.contains("it is rejected") && text.contains("the last good version stays in force"),
                "round {round}: {text}"
            );
        }
        admin.apply(&entry("198.51.100.77"))?;
        let (code, text) = waiting(&place, &version(admin)?)?;
        ensure!(code == Some(0), "{text}");
        ensure!(place.reaches("frontend", "198.51.100.77:5432")?);
        admin.delete(&entry("198.51.100.77"))?;
        let gone = ["wait", "--for", "ServiceEntry", "--delete", "frontend/db"];
        let (code, text) = said(&place.command(&gone).output()?);
        ensure!(code == Some(0), "{text}");
        ensure!(!place.reaches("frontend", "198.51.100.77:5432")?);
        Ok(())
    });
}

/// The plugin, as kubectl starts it.
fn plugin(folder: &Path, kubeconfig: &Path) -> Result<Command> {
    let program: PathBuf = folder.join("kubectl-enforcer");
    if !program.exists() {
        symlink(BINARY, &program)?;
    }
    let mut command = tied(&program);
    command.arg0("kubectl-enforcer");
    command.env("KUBECONFIG", kubeconfig);
    Ok(command)
}

/// A pod of an enforcer, of which the API server alone knows.
fn pod(name: &str, node: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "enforcer-system", "labels": { "app.kubernetes.io/name": "enforcer" },
        },
        "spec": { "nodeName": node, "containers": [{ "name": "enforcer", "image": "none" }] },
        "status": { "phase": phase },
    })
}

#[test]
fn nodes_that_cannot_be_asked_are_named() {
    check(|server, admin| {
        let kubeconfig = server.kubeconfig("admin", &json!({ "token": "admin" }))?;
        let folder = tempfile::tempdir()?;
        let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
            Ok(said(
                &plugin(folder.path(), &kubeconfig)?.args(arguments).output()?,
            ))
        };
        let (code, text) = run(&["status"])?;
        ensure!(
            code == Some(1) && text.contains("there is no pod with the label"),
            "{text}"
        );
        // A kubelet's address is known of no node here, so that nothing can be run in the pod.
        admin.apply_value(&pod("enforcer-a", "n1", "Running"))?;
        admin.apply_value(&pod("enforcer-b", "n2", "Pending"))?;
        let (code, text) = run(&["status"])?;
        ensure!(code == Some(1), "{text}");
        ensure!(
            text.contains("node n1 could not be asked: no command can be run in pod enforcer-a"),
            "{text}"
        );
        ensure!(
            text.contains("node n2 could not be asked: the enforcer's pod enforcer-b is Pending"),
            "{text}"
        );
        let (code, text) = run(&["status", "-o", "json"])?;
        let record: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(
            code == Some(1) && record["nodes"]["n2"]["error"].is_string(),
            "{text}"
        );

        let (code, text) = run(&["wait", "--for", "ServiceEntry", "frontend/db"])?;
        ensure!(
            code == Some(1) && text.contains("the API server has no ServiceEntry frontend/db"),
            "{text}"
        );
        admin.apply(&entry("198.51.100.1"))?;
        let wait = [
            "wait",
            "--for",
            "ServiceEntry",
            "-n",
            "frontend",
            "db",
            "-o",
            "json",
        ];
        let (code, text) = run(&wait)?;
        let record: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        ensure!(code == Some(1), "{text}");
        ensure!(record["version"] == version(admin)?.parse::<u64>()?, "{text}");
        ensure!(
            record["everywhere"] == false && record["nodes"]["n1"]["error"].is_string(),
            "{text}"
        );
        let (code, text) = run(&["wait", "--for", "Pod", "a/b"])?;
        ensure!(code == Some(2) && text.contains("--for Pod"), "{text}");
        let (code, text) = run(&["explain", "-n", "frontend", "db.example.com:5432"])?;
        ensure!(
            code == Some(2) && text.contains("node n1 could not be asked"),
            "{text}"
        );
        let (code, text) = run(&["monitor", "--last", "1"])?;
        ensure!(
            code == Some(1) && text.contains("node n1 tells no more"),
            "{text}"
        );

        // Without the rights that docs/wait.md names, that is said.
        for text in [ACCOUNT, ROLE, BINDING] {
            admin.apply(text)?;
        }
        let token = admin.token("default", "lister")?;
        let lister = server.kubeconfig("lister", &json!({ "token": token }))?;
        let output = plugin(folder.path(), &lister)?.arg("status").output()?;
        let (code, text) = said(&output);
        ensure!(code == Some(1), "{text}");
        for words in [
            "warning: nodes without an enforcer are not known",
            "node n1 could not be asked: no command can be run in pod enforcer-a, which takes the right to create pods/exec",
            "403",
        ] {
            ensure!(text.contains(words), "{words} is not in {text}");
        }
        let stranger = server.kubeconfig("stranger", &json!({ "token": "nobody" }))?;
        let output = plugin(folder.path(), &stranger)?.arg("status").output()?;
        let (code, text) = said(&output);
        ensure!(
            code == Some(1) && text.contains("listing the enforcer's pods"),
            "{text}"
        );
        Ok(())
    });
}
