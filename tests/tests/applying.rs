//! `kubectl apply` of what is in `deploy/`: a server takes it as it is, says no warning, and has nothing to change when
//! the same is applied again. And the life of a release of the chart.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::{
    fixture::need_root,
    kube::{Api, Server, helm, with_server},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// Where the release is.
const NAMESPACE: &str = "enforcer-system";

/// Since when a pod's AppArmor profile is a field.
const FIELD: u32 = 30;

/// What the server's version is to be given, in the order in which deploy/README applies it.
fn folders(minor: u32) -> &'static [&'static str] {
    if minor < FIELD {
        &[
            "overlays/before-1.30/crds",
            "overlays/before-1.30/audit",
            "overlays/before-1.30/enforce",
            "overlays/before-1.30/boot",
            "taint",
            "overlays/before-1.30/uninstall",
            "overlays/before-1.30/uninstall-boot",
        ]
    } else {
        &[
            "crds",
            "overlays/audit",
            "overlays/enforce",
            "overlays/boot",
            "taint",
            "overlays/uninstall",
            "overlays/uninstall-boot",
        ]
    }
}

/// The number behind `1.`.
fn minor(api: &Api) -> Result<u32> {
    let version: serde_json::Value = serde_json::from_str(&api.get("/version")?)?;
    let minor = version["minor"].as_str().context("it says its version")?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}

/// What is printed for people, and the warnings.
fn apply(mut kubectl: Command, folder: &str) -> Result<(String, String)> {
    let folder = Path::new(DEPLOY).join(folder);
    let output = kubectl.args(["apply", "-k"]).arg(&folder).output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (printed, warnings) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output.status.success(),
        "{}: {printed}{warnings}",
        folder.display()
    );
    Ok((printed, warnings))
}

#[test]
fn server_takes_every_overlay_without_a_warning_and_once() {
    need_root().unwrap();
    with_server(|server| {
        let minor = minor(&server.admin()?)?;
        // Of the harness, which has not applied them.
        let mut delete = server.kubectl()?;
        delete.args(["delete", "crds", "--all"]);
        ensure!(delete.status()?.success(), "the definitions are still there");
        for folder in folders(minor) {
            for is_again in [false, true] {
                let (printed, warnings) = apply(server.kubectl()?, folder)?;
                ensure!(warnings.is_empty(), "{folder} at 1.{minor}: {warnings}");
                let changed: Vec<_> = printed
                    .lines()
                    .filter(|line| !line.ends_with(" unchanged"))
                    .collect();
                ensure!(
                    !is_again || changed.is_empty(),
                    "{folder} at 1.{minor} is changed when applied again: {changed:?}"
                );
            }
        }
        Ok(())
    })
    .unwrap();
}

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
