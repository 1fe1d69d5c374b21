//! Runs cargo for the BPF target.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::toolchain::{Compiler, TARGET, Toolchain};

const PACKAGE: &str = "enforcer-ebpf";
const BINARY: &str = "enforcer";

/// Builds the BPF programs of the workspace at `workspace` below `target_dir` and returns the object's path.
///
/// `target_dir` must not be the target folder of a cargo that is waiting for this one: cargo locks it.
///
/// # Errors
/// If cargo cannot be started or fails; its own messages are on standard error.
pub fn build(toolchain: &Toolchain, workspace: &Path, target_dir: &Path) -> Result<PathBuf> {
    let (compiler, linker) = match toolchain {
        Toolchain::Prebuilt(object) => return Ok(object.clone()),
        Toolchain::Build { compiler, linker } => (*compiler, linker),
    };
    let mut cargo = cargo(compiler)?;
    cargo
        .args([
            "build",
            "--locked",
            "--release",
            "--package",
            PACKAGE,
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rust_flags(linker, &names(compiler, workspace, target_dir)),
        );
    let status = cargo
        .status()
        .with_context(|| format!("starting {}", cargo.get_program().display()))?;
    ensure!(status.success(), "building the BPF programs failed ({status})");
    let object = target_dir.join(TARGET).join("release").join(BINARY);
    ensure!(object.is_file(), "cargo has not written {}", object.display());
    Ok(object)
}

/// The compiler's cargo, shielded from the environment of the cargo that runs us.
fn cargo(compiler: Compiler) -> Result<Command> {
    let mut cargo = match compiler {
        Compiler::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "cargo", "-Zbuild-std=core"]);
            rustup
        }
        Compiler::Distribution => Command::new("/usr/bin/cargo"),
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(leaks) {
            cargo.env_remove(name);
        }
    }
    if compiler == Compiler::Distribution {
        cargo
            .env("PATH", path_with_first("/usr/bin")?)
            .env("RUSTC", "/usr/bin/rustc")
            // aya-ebpf's assembly for BPF is behind a feature gate.
            .env("RUSTC_BOOTSTRAP", "1");
    }
    // bpf-linker optimizes the whole program; what comes before it has to keep the types that BTF is made of.
    cargo
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    Ok(cargo)
}

/// Whether a variable steers cargo or the compiler for the host's build and would spoil the one for BPF.
fn leaks(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "CARGO",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ];
    const PREFIXES: [&str; 10] = [
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_ENCODED_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// What folders are called in the object, whose lines of source name files: the same wherever it is built. Of several
/// that match, the compiler takes the last.
fn names(compiler: Compiler, workspace: &Path, target_dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let packages = env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let sysroot = compiler.sysroot();
    sysroot
        .map(|folder| (folder, "/rust"))
        .into_iter()
        .chain(packages.map(|folder| (folder, "/cargo")))
        .chain([
            (workspace.to_owned(), "/enforcer"),
            (target_dir.to_owned(), "/enforcer/target"),
        ])
        .collect()
}

/// Flags in cargo's encoding, which lets paths hold spaces.
fn rust_flags(linker: &Path, names: &[(PathBuf, &str)]) -> OsString {
    let mut flags = OsString::from("-Clinker=");
    flags.push(linker);
    flags.push("\u{1f}-Clink-arg=--btf\u{1f}-Cdebuginfo=2");
    for (folder, name) in names {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(folder);
        flags.push("=");
        flags.push(name);
    }
    flags
}

fn path_with_first(folder: &str) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(folder)).chain(env::split_paths(&path));
    env::join_paths(folders).context("putting the distribution's compiler first in PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_the_host_build_do_not_reach_the_bpf_build() {
        for name in [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
        ] {
            assert!(leaks(name), "{name} must be cleared");
        }
    }

    #[test]
    fn settings_of_the_network_and_the_job_server_are_kept() {
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "CARGO_MAKEFLAGS",
            "RUSTUP_HOME",
        ] {
            assert!(!leaks(name), "{name} must be kept");
        }
    }

    #[test]
    fn folder_with_a_space_stays_in_one_flag() {
        let names = [(PathBuf::from("/home/a b/enforcer"), "/enforcer")];
        let flags = rust_flags(Path::new("/home/a b/bpf-linker"), &names);
        let flags = flags.to_string_lossy();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert_eq!(flags[0], "-Clinker=/home/a b/bpf-linker");
        assert_eq!(flags[3..], ["--remap-path-prefix=/home/a b/enforcer=/enforcer"]);
    }
}
