//! The toolchain for the BPF programs: which packages bring it, and how bpf-linker is installed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use enforcer_bpf_build::{Compiler, LINKER, TARGET, toolchain_root};

use crate::{
    apt,
    process::{answer, cargo, find, run},
};

/// The version of bpf-linker that the programs are tested with.
const LINKER_VERSION: &str = "0.13.0";

/// The major versions of LLVM that this bpf-linker can link with, newest first: a linker may read what an older
/// compiler wrote, and not the other way round.
const LLVMS: [u32; 3] = [23, 22, 21];

/// The packages that bring a compiler with a prebuilt `core` for BPF: Debian's own, and the newer one that it
/// keeps for browsers.
const COMPILERS: [[&str; 3]; 2] = [
    ["rustc", "cargo", "libstd-rust-dev-bpf"],
    ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"],
];

/// The packages of the first compiler that apt can install and that is new enough for this workspace.
pub(crate) fn compiler_packages() -> Option<[&'static str; 3]> {
    let new_enough = |package| {
        let version = apt::candidate(package)?;
        (numbers(&version) >= numbers(env!("CARGO_PKG_RUST_VERSION"))).then_some(())
    };
    COMPILERS
        .into_iter()
        .find(|packages| packages.iter().all(|package| new_enough(package).is_some()))
}

/// The packages with which bpf-linker is built, with the newest LLVM that apt can install.
pub(crate) fn linker_packages() -> Option<Vec<String>> {
    let llvm = LLVMS.iter().map(|major| format!("llvm-{major}-dev"));
    let llvm = llvm
        .into_iter()
        .find(|package| apt::candidate(package).is_some())?;
    let others = ["g++", "zlib1g-dev", "libzstd-dev"].map(String::from);
    Some(std::iter::once(llvm).chain(others).collect())
}

/// What a system without apt needs, for a message.
pub(crate) fn linker_needs() -> String {
    let versions = LLVMS.map(|major| major.to_string()).join(", ");
    format!("LLVM's development files (one of {versions}), zlib, zstd and a C++ compiler")
}

/// Whether there is an LLVM that bpf-linker can be built with.
pub(crate) fn has_llvm() -> bool {
    LLVMS.into_iter().any(|major| llvm_prefix(major).is_some())
}

/// Builds bpf-linker against the newest LLVM here and installs it into the toolchain folder.
pub(crate) fn install_linker() -> Result<()> {
    let (major, prefix) = LLVMS
        .into_iter()
        .find_map(|major| Some((major, llvm_prefix(major)?)))
        .with_context(|| format!("bpf-linker needs {}", linker_needs()))?;
    if let Some(compiler) = compiler_llvm() {
        ensure!(
            compiler <= major,
            "the compiler for {TARGET} has LLVM {compiler}, and bpf-linker can only be built with LLVM {major}: \
             install llvm-{compiler}-dev"
        );
    }
    let feature = format!("llvm-{major}");
    let package = format!("{LINKER}@{LINKER_VERSION}");
    let mut install = install_into_toolchain(&package)?;
    install
        .args(["--no-default-features", "--features", &feature])
        .env("LLVM_PREFIX", &prefix);
    run(&mut install)
}

/// `cargo install` of a pinned package into the toolchain folder.
pub(crate) fn install_into_toolchain(package: &str) -> Result<Command> {
    let root = toolchain_root().with_context(|| {
        format!("neither HOME nor ENFORCER_CACHE is set: no folder in which to install {package}")
    })?;
    let mut install = cargo();
    install
        .args(["install", "--locked", "--root"])
        .arg(root)
        .arg(package);
    Ok(install)
}

/// Where LLVM's development files of this version are.
fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let packaged = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    let config = packaged.join("bin/llvm-config");
    if config.is_file() && packaged.join("include/llvm-c").is_dir() {
        return Some(packaged);
    }
    // Fedora and Arch have one LLVM, in the usual places.
    let config = find("llvm-config")?;
    let version = answer(Command::new(&config).arg("--version"))?;
    let prefix = answer(Command::new(&config).arg("--prefix"))?;
    (numbers(&version).first() == Some(&major)).then(|| Path::new(prefix.trim()).to_owned())
}

/// LLVM's major version in the compiler for BPF.
fn compiler_llvm() -> Option<u32> {
    let mut rustc = match Compiler::detect()? {
        Compiler::Nightly => {
            let mut rustup = Command::new("rustup");
            rustup.args(["run", "nightly", "rustc"]);
            rustup
        }
        Compiler::Distribution => Command::new("/usr/bin/rustc"),
    };
    let version = answer(rustc.arg("-vV"))?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    numbers(llvm).first().copied()
}

/// The leading numbers of a version, for comparison.
fn numbers(version: &str) -> Vec<u32> {
    version
        .trim()
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(numbers("1.100.0") > numbers("1.95"));
        assert!(numbers("1.95.0") >= numbers("1.95"));
        assert!(numbers("1.85.0") < numbers("1.95"));
    }
}
