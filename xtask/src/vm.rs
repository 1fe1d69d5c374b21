//! The kernel matrix: boots Debian's kernels, one after the other, into the test binary; and a whole machine
//! ([`systemd`]).
//!
//! ```text
//! suite -> fetch (archive, modules) -> machine (cpio, QEMU) -> report -> table
//! ```
//!
//! Never a kernel of the machine it runs on, never an accelerator of it, and no network in the machines.

mod boundary;
mod cpio;
mod fetch;
mod machine;
mod modules;
mod report;
mod suite;
mod systemd;
mod table;

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use crate::out::say;
use crate::{image::build_tests, setup};
use fetch::Kernel;
use suite::Suite;
use table::{Column, Table};

/// What the test binary is built for: Debian's kernels of that architecture are fetched.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What `vm-test` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this kernel: a series (6.1), `newest`, or a suite of Debian (bookworm-security); can be given repeatedly
    #[arg(long, value_name = "SUITE")]
    pub(crate) kernel: Vec<String>,
    /// How many random sequences of calls each kernel tries
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    pub(crate) sequences: u64,
    /// Only this check, such as `ways`, or this scenario of --systemd; can be given repeatedly
    #[arg(long, value_name = "CHECK")]
    pub(crate) only: Vec<String>,
    /// Instead of kernels, a whole machine with systemd, on which the enforcer is installed as deploy/README.md says
    #[arg(long, conflicts_with_all = ["kernel", "sequences"])]
    pub(crate) systemd: bool,
}

impl Arguments {
    /// What the machines are told, on their kernels' command lines.
    fn words(&self) -> String {
        let mut words = format!("enforcer.sequences={}", self.sequences);
        if !self.only.is_empty() {
            words.push_str(&format!(" enforcer.only={}", self.only.join(",")));
        }
        words
    }
}

/// Runs the matrix; the exit code is a failure if a check failed, and not if a kernel cannot be had.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.systemd {
        return systemd::run(&arguments.only);
    }
    let suites = suite::choose(&arguments.kernel)?;
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux")),
        "the matrix needs a machine that builds for {TARGET}"
    );
    setup::run(&setup::Arguments {
        vm: true,
        ..Default::default()
    })?;
    let binary = build_tests(TARGET)?;
    let columns = suites.into_iter().map(|suite| column(suite, &binary, arguments));
    let table = Table(columns.collect::<Result<_>>()?);
    crate::out::write(format_args!("\n{table}"));
    if table.has_failed() {
        say!("vm-test: FAILED");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn column(suite: Suite, binary: &Path, arguments: &Arguments) -> Result<Column> {
    let outcome = match fetch::kernel(&suite) {
        Err(why) => {
            say!("SKIPPED: kernel {}: {why:#}", suite.title());
            Err(why)
        }
        Ok(kernel) => {
            let initrd = initrd(&kernel, binary)?;
            let mut report = machine::run(&kernel.image, initrd.path(), arguments)?;
            boundary::check(&suite, &mut report)?;
            say!(
                "vm-test: {}: {} in {:.1} s",
                suite.title(),
                if report.has_failed() { "FAILED" } else { "passed" },
                report.took.as_secs_f32()
            );
            Ok(report)
        }
    };
    Ok(Column { suite, outcome })
}

/// The kernel's first file system: the test binary as its first program, and the modules in their order.
fn initrd(kernel: &Kernel, binary: &Path) -> Result<NamedTempFile> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("reading {}", path.display()));
    let mut files = vec![("init".to_owned(), read(binary)?)];
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        files.push((name.into_owned(), read(module)?));
    }
    let mut initrd = tempfile::Builder::new().prefix("enforcer-initrd-").tempfile()?;
    initrd
        .write_all(&cpio::archive(&files)?)
        .context("writing the initial file system")?;
    Ok(initrd)
}
