//! The enforcer as it is installed, on a cluster of several nodes in containers: makes one with kind, runs
//! `tests/tests/kind.rs` on it, and takes it away.
//!
//! ```text
//! docker (what it withholds) -> archives (images) -> cluster (kind, a kubeconfig of its own) -> cargo test
//!                                                       `-> show (what a failed one has to say)
//! ```
//!
//! Needs Docker, kind and kubectl, and installs none of them: they are the user's choice. Neither the user's kubeconfig
//! nor another cluster is touched.

mod archives;
mod cluster;
mod commands;
mod docker;
mod show;

use anyhow::{Result, ensure};

use crate::{
    interrupt,
    out::say,
    process::{cargo, find, run as run_visibly},
    unavailable::Unavailable,
};
use archives::Archives;
use cluster::Cluster;

/// What is to be had, or not.
const WHAT: &str = "a cluster in containers";

/// What the tests are told beside `KUBECONFIG`: the image of their pods.
const PODS: &str = "ENFORCER_KIND_IMAGE";

/// The tests, as cargo names them.
const TESTS: [&str; 5] = ["test", "--package", "tests", "--test", "kind"];

/// What `kind` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the cluster there, to look around
    #[arg(long)]
    keep: bool,
    /// How many nodes: one control plane, and workers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    nodes: u8,
    /// The nodes' image, which says which Kubernetes; kind's own choice if none is given
    #[arg(long)]
    image: Option<String>,
}

/// Makes the cluster, runs the tests on it, and takes it away however they end.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let missing: Vec<_> = ["docker", "kind", "kubectl"]
        .into_iter()
        .filter(|program| find(program).is_none())
        .collect();
    if !missing.is_empty() {
        let why = format!(
            "not installed: {}; `cargo xtask demo` shows the main job on this machine",
            missing.join(", ")
        );
        return Err(Unavailable(WHAT, why).into());
    }
    docker::check()?;
    let archives = Archives::write()?;
    // Before the cluster, which would wait for the compiler otherwise.
    run_visibly(cargo().args(TESTS).arg("--no-run"))?;
    interrupt::catch()?;
    let cluster = Cluster::create(arguments)?;
    let outcome = test(&cluster, &archives);
    if let Err(error) = &outcome
        && !interrupt::has_come()
    {
        say!("kind: {error:#}; this is how it looks:");
        show::all(&cluster);
    }
    if arguments.keep {
        cluster.keep();
    }
    outcome
}

fn test(cluster: &Cluster, archives: &Archives) -> Result<()> {
    cluster.wait()?;
    for file in archives.files() {
        cluster.load(file)?;
    }
    let mut tests = cargo();
    tests
        .args(TESTS)
        .args(["--", "--nocapture"])
        .env("KUBECONFIG", cluster.kubeconfig())
        .env(PODS, archives.pods());
    let status = commands::run(&mut tests)?;
    ensure!(status.success(), "the tests have failed");
    say!("kind: everything holds; nodes: {}", cluster.nodes());
    Ok(())
}
