//! Checks that need no running program: formatting, lints, licences.

use std::{
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    process::{cargo, run, workspace},
    setup,
};

type Check = fn() -> Result<()>;

/// Runs all checks and stops at the first that fails.
pub(crate) fn run_checks() -> Result<ExitCode> {
    setup::run(&setup::Arguments { lint: true })?;
    let steps: [(&str, Check); 5] = [
        ("formatting", format),
        ("lints", clippy),
        ("lints of the BPF programs", clippy_bpf),
        ("licences, bans and sources of dependencies", deny),
        ("security advisories", advisories),
    ];
    for (name, step) in steps {
        println!("lint: {name}");
        let begin = Instant::now();
        step()?;
        println!("lint: {name}: done in {:.1} s", begin.elapsed().as_secs_f32());
    }
    Ok(ExitCode::SUCCESS)
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(cargo().args(["clippy", "--all-targets", "--", "-D", "warnings"]))
}

/// The pinned clippy has no `core` for the BPF target; the programs' sources check on the host as well, if nothing
/// unwinds.
fn clippy_bpf() -> Result<()> {
    let mut clippy = cargo();
    clippy
        .args(["clippy", "--package", "enforcer-ebpf", "--", "-D", "warnings"])
        .env("CARGO_PROFILE_DEV_PANIC", "abort");
    run(&mut clippy)
}

fn deny() -> Result<()> {
    run(cargo_deny()?.args(["check", "licenses", "bans", "sources"]))
}

/// Needs the advisories' database from the network: without it the check is skipped, visibly.
fn advisories() -> Result<()> {
    let fetched = cargo_deny()?
        .args(["fetch", "db"])
        .output()
        .context("starting cargo-deny")?;
    if fetched.status.success() {
        return run(cargo_deny()?.args(["check", "--disable-fetch", "advisories"]));
    }
    let error = String::from_utf8_lossy(&fetched.stderr);
    let why = error
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    println!(
        "SKIPPED: advisories: their database cannot be fetched: {}",
        why.trim()
    );
    Ok(())
}

fn cargo_deny() -> Result<Command> {
    let program = setup::deny().context("cargo-deny is not installed: run `cargo xtask setup --lint`")?;
    let mut command = Command::new(program);
    command.current_dir(workspace());
    Ok(command)
}
