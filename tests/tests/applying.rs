//! `kubectl apply` of what is in `deploy/`: a server takes it as it is, says no warning, and has nothing to change when
//! the same is applied again.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use tests::{
    fixture::need_root,
    kube::{Api, with_server},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

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
