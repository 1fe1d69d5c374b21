//! The life of a release of the chart, on a real API server. It is a server of its own: what `kubectl apply` has made
//! there, Helm takes for somebody else's.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{
    fixture::need_root,
    kube::{Api, Server, helm, with_server},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// Where the release is.
const NAMESPACE: &str = "enforcer-system";

/// What Helm says of the release.
fn of_release(server: &Server, helm: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(helm)
        .arg("--kubeconfig")
        .arg(server.kubeconfig("helm", &json!({ "token": "admin" }))?)
        .args(["--namespace", NAMESPACE])
        .args(arguments)
        // Nothing of it is kept.
        .env("HELM_CACHE_HOME", server.file("helm-cache"))
        .env("HELM_CONFIG_HOME", server.file("helm-config"))
        .env("HELM_DATA_HOME", server.file("helm-data"))
        .output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (printed, errors) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{arguments:?}: {printed}{errors}");
    Ok(printed)
}

/// What the server has of the DaemonSet's arguments, and of the configuration; null where there is none.
fn configured(admin: &Api) -> Result<(serde_json::Value, serde_json::Value)> {
    let sets = admin.list(&format!("/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets"))?;
    let maps = admin.list(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps"))?;
    let set = sets.into_iter().find(|set| set["metadata"]["name"] == "enforcer");
    let map = maps.into_iter().find(|map| map["metadata"]["name"] == "enforcer");
    let arguments = |set: serde_json::Value| set.pointer("/spec/template/spec/containers/0/args").cloned();
    let text = |map: serde_json::Value| map.pointer("/data/enforcer.yaml").cloned();
    Ok((
        set.and_then(arguments).unwrap_or_default(),
        map.and_then(text).unwrap_or_default(),
    ))
}

#[test]
fn release_is_installed_upgraded_taken_back_and_removed() {
    need_root().unwrap();
    let Some(helm) = helm() else { return };
    let chart = Path::new(DEPLOY).join("helm/enforcer");
    let chart = chart.to_str().unwrap();
    with_server(|server| {
        let admin = server.admin()?;
        let has = |text: &serde_json::Value, part: &str| text.to_string().contains(part);
        of_release(
            server,
            &helm,
            &["install", "enforcer", chart, "--create-namespace"],
        )?;
        let (arguments, audit) = configured(&admin)?;
        ensure!(has(&arguments, "run") && has(&audit, "mode: audit"), "{audit}");

        let upgrade = ["upgrade", "enforcer", chart, "--reuse-values", "--set"];
        of_release(
            server,
            &helm,
            &[&upgrade[..], &["mode=enforce,boot=true"]].concat(),
        )?;
        let (arguments, enforce) = configured(&admin)?;
        ensure!(
            has(&arguments, "--keep-for-boot") && has(&enforce, "mode: enforce"),
            "{arguments} {enforce}"
        );
        of_release(server, &helm, &["rollback", "enforcer"])?;
        ensure!(configured(&admin)?.1 == audit, "it is not as it was");

        let said = of_release(server, &helm, &[&upgrade[..], &["detach=true"]].concat())?;
        ensure!(said.contains("uninstall enforcer"), "{said}");
        let (arguments, none) = configured(&admin)?;
        ensure!(has(&arguments, "detach") && none.is_null(), "{arguments} {none}");
        of_release(server, &helm, &["uninstall", "enforcer"])?;
        let (arguments, _) = configured(&admin)?;
        ensure!(arguments.is_null(), "{arguments}");
        Ok(())
    })
    .unwrap();
}
