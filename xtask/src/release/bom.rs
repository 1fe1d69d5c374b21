//! The bill of materials: every package that is in the binary, in the words of CycloneDX, as cargo-cyclonedx writes it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use enforcer_bpf_build::TARGET;

use crate::{arch::Arch, image::NAME, out::say, process::run, setup, tree::Tree};

/// What cargo-cyclonedx calls the file of a binary named `enforcer`.
const WRITTEN: &str = "enforcer_bin.cdx.json";

/// Writes one file for each architecture, and one for the programs in the kernel, which every binary holds.
pub(super) fn write(architectures: &[Arch], out: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    // It writes files into the folders of all packages.
    let tree = Tree::clone_to(&folder.path().join(NAME))?;
    for &arch in architectures {
        describe(&tree, arch.target())?;
        take(&tree, "enforcer", &out.join(file(arch.name())))?;
    }
    describe(&tree, TARGET)?;
    take(&tree, "enforcer-ebpf", &out.join(file("bpf")))?;
    say!("release: the bills of materials");
    Ok(())
}

fn file(of: &str) -> String {
    format!("{NAME}-{}-{of}.cdx.json", env!("CARGO_PKG_VERSION"))
}

fn describe(tree: &Tree, target: &str) -> Result<()> {
    let program =
        setup::bill().context("cargo-cyclonedx is not installed: run `cargo xtask setup --release`")?;
    let mut describe = tree.command(&program);
    describe
        .args(["cyclonedx", "--quiet", "--format=json", "--spec-version=1.5"])
        .args(["--describe=binaries", "--no-build-deps", "--target", target])
        .arg("--manifest-path")
        .arg(tree.join("enforcer/Cargo.toml"));
    run(&mut describe)
}

/// The file of a package, in which the folder of the sources has another name.
fn take(tree: &Tree, package: &str, to: &Path) -> Result<()> {
    let from: PathBuf = tree.join(package).join(WRITTEN);
    let text = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
    let source = tree.join("");
    let source = source.to_str().context("a folder's name is no text")?;
    let text = text.replace(source, "/enforcer/");
    ensure!(
        text.contains("file:///enforcer/"),
        "{} does not say where the sources are as it did: compare the version of cargo-cyclonedx",
        from.display()
    );
    fs::write(to, text).with_context(|| format!("writing {}", to.display()))
}
