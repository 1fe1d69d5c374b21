//! What `kubectl apply -k` would apply, as one file for each overlay: for those who have no checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use enforcer_bpf_build::toolchain_root;

use crate::{
    image::NAME,
    out::say,
    process::{find, is_program},
    tree::Tree,
    unavailable::Unavailable,
};

/// Folders with a kustomization each, or with folders that have one.
const FOLDERS: [&str; 3] = ["crds", "overlays", "taint"];

/// Writes `enforcer-VERSION-OVERLAY.yaml` for each.
pub(super) fn write(tree: &Tree, out: &Path) -> Result<()> {
    let deploy = tree.join("deploy");
    let kubectl = kubectl()?;
    let mut overlays = Vec::new();
    for folder in FOLDERS {
        list(&deploy.join(folder), folder, &mut overlays)?;
    }
    overlays.sort();
    ensure!(!overlays.is_empty(), "{} has no overlays", deploy.display());
    for overlay in &overlays {
        let text = render(&kubectl, &deploy.join(overlay))?;
        let name = overlay.trim_start_matches("overlays/").replace('/', "-");
        let file = format!("{NAME}-{}-{name}.yaml", env!("CARGO_PKG_VERSION"));
        fs::write(out.join(&file), text).with_context(|| format!("writing {file}"))?;
    }
    say!("release: the manifests of {} overlays", overlays.len());
    Ok(())
}

/// The machine's kubectl, else the one that was built for the tests.
fn kubectl() -> Result<PathBuf> {
    let built = || Some(toolchain_root()?.with_file_name("kubernetes").join("bin/kubectl"));
    let found = find("kubectl").or_else(|| built().filter(|path| is_program(path)));
    Ok(found.ok_or_else(|| {
        let how = "install kubectl (1.21 or newer), or run `cargo xtask kubernetes build`, which brings one";
        Unavailable("what renders the manifests", how.to_owned())
    })?)
}

fn render(kubectl: &Path, folder: &Path) -> Result<Vec<u8>> {
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(folder)
        .output()
        .with_context(|| format!("starting {}", kubectl.display()))?;
    ensure!(
        output.status.success(),
        "{} cannot be rendered: {}",
        folder.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

fn list(folder: &Path, name: &str, overlays: &mut Vec<String>) -> Result<()> {
    if folder.join("kustomization.yaml").is_file() {
        overlays.push(name.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.path().is_dir() {
            let below = entry.file_name();
            let below = below.to_str().context("a folder's name is no text")?;
            list(&entry.path(), &format!("{name}/{below}"), overlays)?;
        }
    }
    Ok(())
}
