//! Runs every test.
//!
//! One `cargo test` for all, so that its filters and its closing lines are the usual ones; cargo's runner gives
//! root's rights to the packages that need them.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};

use crate::out::say;
use crate::{
    arch::Arch,
    envoy, helm, image,
    kubernetes::{self, Folder},
    process::{as_root_with_environment, cargo},
    setup,
    summary::Summary,
    unavailable::is_reason,
};

/// The packages whose tests load programs into the kernel, make cgroups and network namespaces.
const NEED_ROOT: [&str; 2] = ["enforcer", "tests"];

/// What the acceptance tests are told: the program that starts nodes, the image's archive, the folder of the API server's
/// programs, Envoy, and that it is a failure if something of it but Envoy is not there. Archive, folder and Envoy may be
/// set before.
const XTASK: &str = "ENFORCER_XTASK";
const IMAGE: &str = "ENFORCER_IMAGE";
const SERVERS: &str = "KUBEBUILDER_ASSETS";
const ENVOY: &str = "ENFORCER_ENVOY";
const REQUIRED: &str = "REAL_KUBERNETES_REQUIRED";

/// What `test` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build a real Kubernetes and the image first, and run what needs them as well; stands before all else
    #[arg(long)]
    kubernetes: bool,
    /// Passed on to `cargo test`, for instance `-p enforcer-core` or the part of a test's name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// A test binary and its arguments, as cargo hands them to its runner.
#[derive(clap::Args)]
pub(crate) struct Runner {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Sets up, runs the tests and sums up; the exit code is cargo's.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run(&setup::Arguments::default())?;
    // The tests look where it is kept.
    optional(helm::get())?;
    let mut tests = cargo();
    if arguments.kubernetes {
        prepare_kubernetes(&mut tests)?;
    }
    tests.args(["test", "--no-fail-fast"]);
    if !nix::unistd::geteuid().is_root() {
        say!(
            "test: sudo gives root's rights to the tests of: {}",
            NEED_ROOT.join(", ")
        );
        tests.arg("--config").arg(runner()?);
    }
    tests.args(with_shown_output(&arguments.arguments));
    report(&mut tests)
}

/// Builds what the acceptance tests need, and tells them where it is. From here on none of it may be missing.
fn prepare_kubernetes(tests: &mut Command) -> Result<()> {
    // Before the rest, during which this program may be built anew.
    let this = env::current_exe().context("finding this program's own path")?;
    tests.env(XTASK, this);
    let folder = Folder::new(None)?;
    kubernetes::build(&folder)?;
    if env::var_os(IMAGE).is_none() {
        tests.env(IMAGE, image::write(Arch::own(), None)?.file);
    }
    if env::var_os(SERVERS).is_none() {
        tests.env(SERVERS, folder.programs());
    }
    if env::var_os(ENVOY).is_none()
        && let Some(envoy) = optional(envoy::get())?
    {
        tests.env(ENVOY, envoy);
    }
    tests.env(REQUIRED, "1");
    Ok(())
}

/// What the tests can do without, and say so.
fn optional<T>(got: Result<T>) -> Result<Option<T>> {
    match got {
        Ok(got) => Ok(Some(got)),
        Err(error) if is_reason(&error) => {
            say!("test: {error:#}; the test that needs it will say SKIPPED");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Runs one test binary for cargo; never returns on success.
pub(crate) fn run_as_needed(runner: &Runner) -> Result<ExitCode> {
    let (program, arguments) = runner.command.split_first().context("cargo names the binary")?;
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let mut command = if NEED_ROOT.contains(&package.as_str()) {
        // The tests are told by it where things are.
        as_root_with_environment(program)
    } else {
        Command::new(program)
    };
    Err(command.args(arguments).exec()).with_context(|| format!("starting {program}"))
}

/// Cargo's setting that makes this program run the test binaries.
fn runner() -> Result<String> {
    let this = env::current_exe().context("finding this program's own path")?;
    Ok(format!(
        "target.'cfg(all())'.runner=[{:?}, \"runner\"]",
        this.display().to_string()
    ))
}

/// Has the test harness print what passing tests printed: a test that skips says so there.
fn with_shown_output(arguments: &[String]) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    if !arguments.iter().any(|argument| argument == "--") {
        arguments.push("--".to_owned());
    }
    arguments.push("--show-output".to_owned());
    arguments
}

/// Passes the tests' output on as it comes, and sums up after it.
fn report(tests: &mut Command) -> Result<ExitCode> {
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut summary = Summary::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("reading the tests' output")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}").context("passing the tests' output on")?;
        summary.read(&line);
    }
    let status = child.wait().context("waiting for cargo test")?;
    crate::out::write(format_args!("\n{summary}"));
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    say!("test: FAILED");
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
