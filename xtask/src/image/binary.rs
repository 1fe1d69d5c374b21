//! The daemon, or another program of the workspace, as one static binary.

use std::{env, path::PathBuf};

use anyhow::Result;

use crate::{
    arch::Arch,
    process::{cargo, run, target_folder},
    programs::CROSS,
    tree::Tree,
};

/// The test binary's name.
pub(crate) const TESTS: &str = "enforcer-test";

/// Says nothing of where it was built, and has no symbols where there is no debugger.
const FLAGS: [&str; 2] = ["-Ctarget-feature=+crt-static", "-Cstrip=symbols"];

/// What takes the compiler most of its time, left out.
const QUICK: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
];

/// Builds it, as it is released.
pub(crate) fn build(arch: Arch, program: &str) -> Result<PathBuf> {
    build_in(&Tree::own(), arch, program, false)
}

/// Builds it in a tree. rust-lld, which every toolchain has, links with the C library that comes with the target, so that
/// no linker or system root of another architecture is needed. `is_quick` leaves out all optimization.
pub(crate) fn build_in(tree: &Tree, arch: Arch, program: &str, is_quick: bool) -> Result<PathBuf> {
    let target = arch.target();
    let variable = target.replace('-', "_");
    let mut build = tree.cargo();
    build
        .args(["build", "--release", "--locked", "--package", program])
        .args(["--bin", program, "--target", target])
        .env(
            format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
            "rust-lld",
        )
        .env("CARGO_ENCODED_RUSTFLAGS", tree.flags(&FLAGS));
    if is_quick {
        build.envs(QUICK);
    }
    if arch != Arch::own() {
        // The dependencies' C code calls nothing of a C library, so that no headers of that architecture are needed.
        build.env(format!("CC_{variable}"), CROSS.name);
    }
    run(&mut build)?;
    Ok(tree.target().join(target).join("release").join(program))
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
