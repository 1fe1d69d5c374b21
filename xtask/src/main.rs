//! Developer commands: `cargo xtask --help` lists them.
//!
//! `setup <- {demo, test, vm-test, fuzz, image, lint, bench}`, `{image, kubernetes, envoy} <- test`, `{kubernetes, envoy} <- bench`, `soak -> {test, vm-test, fuzz}`,
//! and all of them through `process`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod apt;
mod arch;
mod bench;
mod bpf;
mod cgroup;
mod demo;
mod envoy;
mod fuzz;
mod helm;
mod image;
mod interrupt;
mod kind;
mod kubernetes;
mod lint;
mod monitoring;
mod need;
mod older;
mod out;
mod plan;
mod process;
mod programs;
mod servers;
mod setup;
mod soak;
mod summary;
mod test;
mod unavailable;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use out::complain;

/// Developer commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building and testing need, after saying what and why; nothing if all is there
    Setup(setup::Arguments),
    /// Show the main job in a few seconds, with real psql, PostgreSQL and DNS, and take everything away
    Demo,
    /// Run every test, kernel tests included, and say what was skipped and why
    Test(test::Arguments),
    /// Fuzz every parser of user input and of DNS answers for a minute each, from the seeds of the corpus
    Fuzz(fuzz::Arguments),
    /// Run the kernel tests in virtual machines with Debian's kernels, and print a table of what holds in which
    VmTest(vm::Arguments),
    /// Measure what is published, beside what else one could choose, and renew docs/BENCHMARKS.md
    Bench(bench::Arguments),
    /// Run what takes hours: 100,000 random sequences on this kernel and each of the matrix, a hostile workload, fuzzing
    Soak(soak::Arguments),
    /// Write the container image as an archive that ctr, docker, kind and podman load; needs none of them
    Image(image::Arguments),
    /// Test the enforcer as it is installed on a cluster in containers; needs Docker, kind and kubectl
    Kind(kind::Arguments),
    /// Build a real Kubernetes from its source, and start its API server or a whole node on this machine
    Kubernetes(kubernetes::Arguments),
    /// Fetch Envoy for the tests of pods with a proxy, if it is not there, and say where it is
    Envoy,
    /// Build the enforcer of the last commit whose maps have an older layout, and say where it is: what upgrades are tried
    /// from
    Older,
    /// Fetch Helm for the tests of the chart, if it is not there, and say where it is
    Helm,
    /// Make what Grafana and the Prometheus operator take of deploy/monitoring's dashboard.yaml and rules.yaml
    Monitoring,
    /// Check formatting, clippy's lints, licences and dependencies, as CI does
    Lint,
    /// Run a test binary, with root's rights if its package needs them (cargo's runner for `test`)
    #[command(hide = true)]
    Runner(test::Runner),
    /// The part of the demo that makes its cgroups
    #[command(hide = true)]
    DemoHost {
        /// The enforcer's binary
        enforcer: std::path::PathBuf,
    },
    /// The part of the demo inside its namespaces
    #[command(hide = true)]
    DemoStage(demo::Stage),
}

fn main() -> ExitCode {
    out::run(command)
}

fn command() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::run(&arguments),
        Command::VmTest(arguments) => vm::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Image(arguments) => image::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Kind(arguments) => kind::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Kubernetes(arguments) => kubernetes::run(arguments),
        Command::Envoy => envoy::show(),
        Command::Older => older::show(),
        Command::Helm => helm::show(),
        Command::Monitoring => monitoring::write().map(|()| ExitCode::SUCCESS),
        Command::Demo => demo::run(),
        Command::DemoHost { enforcer } => demo::run_host(&enforcer),
        Command::DemoStage(stage) => demo::run_stage(&stage).map(|()| ExitCode::SUCCESS),
        Command::Fuzz(arguments) => fuzz::run_targets(&arguments),
        Command::Lint => lint::run_checks(),
        Command::Runner(runner) => test::run_as_needed(&runner),
    };
    outcome.unwrap_or_else(|error| {
        complain!("error: {error:#}");
        unavailable::exit_code(&error)
    })
}
