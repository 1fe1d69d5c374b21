//! Checks that need no running program: formatting, lints, licences.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::out::say;
use crate::{
    process::{cargo, run, workspace},
    setup,
};

type Check = fn() -> Result<()>;

/// Runs all checks and stops at the first that fails.
pub(crate) fn run_checks() -> Result<ExitCode> {
    let steps: [(&str, Check); 6] = [
        ("formatting", format),
        ("set-up", set_up),
        ("lints", clippy),
        ("lints of the BPF programs", clippy_bpf),
        ("licences, bans and sources of dependencies", deny),
        ("security advisories", advisories),
    ];
    for (name, step) in steps {
        say!("lint: {name}");
        let begin = Instant::now();
        step()?;
        say!("lint: {name}: done in {:.1} s", begin.elapsed().as_secs_f32());
    }
    Ok(ExitCode::SUCCESS)
}

fn set_up() -> Result<()> {
    setup::run(&setup::Arguments {
        lint: true,
        ..setup::Arguments::default()
    })
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
        // The kernel's helpers pack narrow values into wide ones, and a checked conversion has a way to panic.
        .args(["-A", "clippy::cast_possible_truncation"])
        .env("CARGO_PROFILE_DEV_PANIC", "abort");
    run(&mut clippy)
}

fn deny() -> Result<()> {
    run(cargo_deny()?.args(["check", "licenses", "bans", "sources"]))
}

/// Needs the advisories' database from the network: without it the check is skipped, visibly.
fn advisories() -> Result<()> {
    // A network that swallows packets would hold the checks up for minutes.
    let deny = deny_program()?;
    let mut fetch = Command::new("timeout");
    fetch
        .arg("60")
        .arg(&deny)
        .args(["fetch", "db"])
        .current_dir(workspace());
    let fetched = fetch
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .context("starting cargo-deny below timeout")?;
    if fetched.status.success() {
        return run(cargo_deny()?.args(["check", "--disable-fetch", "advisories"]));
    }
    let error = String::from_utf8_lossy(&fetched.stderr);
    let why = error.lines().rfind(|line| !line.trim().is_empty());
    say!(
        "SKIPPED: security advisories: their database cannot be fetched: {}",
        why.unwrap_or("no answer within 60 s").trim()
    );
    Ok(())
}

fn cargo_deny() -> Result<Command> {
    let mut command = Command::new(deny_program()?);
    command.current_dir(workspace());
    Ok(command)
}

fn deny_program() -> Result<PathBuf> {
    setup::deny().context("cargo-deny is not installed: run `cargo xtask setup --lint`")
}
