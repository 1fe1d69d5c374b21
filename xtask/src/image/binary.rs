//! The daemon, or another program of the workspace, as one static binary.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    arch::Arch,
    process::{cargo, run, target_folder},
    programs::CROSS,
};

/// The test binary's name.
pub(crate) const TESTS: &str = "enforcer-test";

/// Builds it. rust-lld, which every toolchain has, links with the C library that comes with the target, so that no
/// linker or system root of another architecture is needed.
pub(crate) fn build(arch: Arch, program: &str) -> Result<PathBuf> {
    let target = arch.target();
    let variable = target.replace('-', "_");
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked", "--package", program])
        .args(["--bin", program, "--target", target])
        .env(
            format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
            "rust-lld",
        )
        .env("RUSTFLAGS", flags());
    if arch != Arch::own() {
        // The dependencies' C code calls nothing of a C library, so that no headers of that architecture are needed.
        build.env(format!("CC_{variable}"), CROSS.name);
    }
    run(build.env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    Ok(target_folder().join(target).join("release").join(program))
}

/// What an emulated processor takes long for otherwise: reading the object with the programs (two seconds), and making
/// random sequences and looking for them in what arrives (most of the time that a sequence takes).
const OPTIMIZED: [&str; 5] = ["aya", "aya-obj", "object", "tests", "fastrand"];

/// Builds the test binary, without any library that would have to be there.
pub(crate) fn build_tests(target: &str) -> Result<PathBuf> {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -Ctarget-feature=+crt-static -Cstrip=symbols");
    let mut build = cargo();
    // Named outright, the target keeps these flags from build scripts and macros, which cannot be static.
    build
        .args(["build", "--quiet", "--package", "tests", "--bin", TESTS])
        .args(["--target", target])
        .args(OPTIMIZED.map(|package| format!("--config=profile.dev.package.{package}.opt-level=2")))
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut build)?;
    Ok(target_folder().join(target).join("debug").join(TESTS))
}

/// No symbols where there is no debugger, and not the folder of this machine's user, which would make the same source
/// another image on every machine.
fn flags() -> String {
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -Ctarget-feature=+crt-static -Cstrip=symbols");
    let own = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    if let Some(packages) = env::var_os("CARGO_HOME").map(PathBuf::from).or(own) {
        flags.push_str(&format!(" --remap-path-prefix={}=/cargo", packages.display()));
    }
    flags
}
