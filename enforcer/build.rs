//! Builds the BPF programs and hands the object's path to the daemon as `ENFORCER_BPF`.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use enforcer_bpf_build::{OBJECT_VARIABLE, Toolchain, build, strip};

/// What the object is made of, relative to the workspace.
const SOURCES: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    "enforcer-ebpf/Cargo.toml",
    "enforcer-ebpf/src",
    "enforcer/common/Cargo.toml",
    "enforcer/common/src",
];

/// What decides which toolchain is found. `PATH` does too, but differs between shells without that mattering.
const VARIABLES: [&str; 3] = [OBJECT_VARIABLE, "ENFORCER_CACHE", "XDG_CACHE_HOME"];

fn main() -> Result<()> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .with_context(|| format!("cargo has not set {name}"))
    };
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let workspace = manifest
        .parent()
        .context("the daemon's crate lies inside the workspace")?;
    rerun_if_changed(workspace);

    let toolchain = match Toolchain::detect() {
        Ok(toolchain) => toolchain,
        Err(missing) => {
            // Cargo prints this line alone and fails the build, where a failing script has its whole output shown.
            println!("cargo::error={missing}");
            return Ok(());
        }
    };
    let out = folder("OUT_DIR")?;
    let object = build(&toolchain, workspace, &out.join("bpf"))?;
    println!("cargo::rerun-if-changed={}", object.display());
    let stripped = out.join("enforcer.bpf.o");
    strip(&object, &stripped)?;
    println!("cargo::rustc-env=ENFORCER_BPF={}", stripped.display());
    Ok(())
}

fn rerun_if_changed(workspace: &Path) {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    for variable in VARIABLES {
        println!("cargo::rerun-if-env-changed={variable}");
    }
}
