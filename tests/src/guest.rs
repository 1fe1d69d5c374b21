//! The test binary as the only program of a kernel: `cargo xtask vm-test` boots it as `/init`.
//!
//! `mounts, modules -> checks (load, closures, lent, errno, pins, cost, kernel for each case, beside, servers, escape, generator) -> report on /dev/ttyS1 -> power off`
//!
//! What it prints for people goes to the console; the report has nothing but its lines.

mod beside;
mod checks;
mod escapes;
mod kernel;
mod lent;
mod modules;
mod mounts;
mod report;
mod sequences;
mod servers;

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};
use nix::sys::reboot::{RebootMode, reboot};

use crate::fixture;
use report::Report;

/// Runs every check, and powers the machine off. Only for the kernel's first process.
pub fn main() -> ExitCode {
    if let Err(error) = run() {
        // The report then has no last line, and whoever reads it shows the console.
        eprintln!("error: {error:#}");
    }
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("error: powering off: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<()> {
    mounts::make()?;
    modules::load()?;
    fixture::loopback_up()?;
    // Kernels before 5.11 charge maps and programs to this limit.
    enforcer::datapath::raise_memlock();
    let release = nix::sys::utsname::uname().context("asking for the kernel's release")?;
    let release = release.release().to_string_lossy().into_owned();
    let mut report = Report::open("/dev/ttyS1", &release)?;
    let kernel = kernel::Kernel::new(&release)?;
    let only = asked("enforcer.only=")?;
    let is_asked = |name| match &only {
        Some(only) => only.split(',').any(|word| word == name),
        None => true,
    };
    for (number, (name, check)) in checks::CHECKS.into_iter().enumerate() {
        if !is_asked(name) {
            continue;
        }
        let holds = report.check(name, || check(&kernel))?;
        // Where the programs do not load, every other check would say the same.
        if number == 0 && !holds {
            break;
        }
    }
    report.end()
}

/// What stands behind `word` on the kernel's command line.
fn asked(word: &str) -> Result<Option<String>> {
    let line = fs::read_to_string("/proc/cmdline").context("reading the kernel's command line")?;
    let found = line.split_whitespace().find_map(|other| other.strip_prefix(word));
    Ok(found.map(str::to_owned))
}
