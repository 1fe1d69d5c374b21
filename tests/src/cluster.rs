//! A Kubernetes cluster as tests see it, wherever it runs: `kubectl`, pods that call, and the conformance table in them.
//!
//! ```text
//! node (a node in namespaces) --.
//! kind (nodes in containers) ----> Cluster -> Pods (processes in pods) -> table (the conformance table in a cluster)
//! ```

mod pods;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::IpAddr,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub use pods::{Pods, Recipe, parts};
pub use table::{Table, Tally, names};

/// Namespace of what `deploy/` installs.
pub const SYSTEM: &str = "enforcer-system";

/// Of the enforcer's pods.
pub const LABEL: &str = "app.kubernetes.io/name=enforcer";

/// What is installed on it.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// The first version (1.N) in which a pod's AppArmor profile is a field.
const FIELD: u32 = 30;

/// A cluster that is up.
pub trait Cluster: Sync {
    /// The number behind `1.` of the API server's version.
    ///
    /// # Errors
    /// If it does not say it.
    fn minor(&self) -> Result<u32> {
        let version: Value = serde_json::from_str(&self.kubectl(&["get", "--raw", "/version"])?)?;
        let minor = version["minor"].as_str().context("it says its version")?;
        Ok(minor.trim_end_matches('+').parse()?)
    }

    /// The folder that deploy/README.md has for a cluster of this version: an overlay, or `crds`.
    ///
    /// # Errors
    /// If the API server does not say its version.
    fn overlay(&self, name: &str) -> Result<String> {
        Ok(match (name, self.minor()? >= FIELD) {
            ("crds", true) => format!("{DEPLOY}/crds"),
            (name, true) => format!("{DEPLOY}/overlays/{name}"),
            (name, false) => format!("{DEPLOY}/overlays/before-1.30/{name}"),
        })
    }

    /// `kubectl` with these arguments, ready to be started; it is ended unless it ends soon.
    fn brief(&self, arguments: &[&str]) -> Command;

    /// The same of what goes on for longer. It ends with the thread that starts it.
    fn lasting(&self, arguments: &[&str]) -> Command;

    /// What `kubectl` prints with these arguments.
    ///
    /// # Errors
    /// What it complains of.
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.brief(arguments);
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("starting {}", command.get_program().display()))?;
        outcome(&output, arguments)
    }

    /// `kubectl` with `documents` on its standard input.
    ///
    /// # Errors
    /// What it complains of.
    fn kubectl_with(&self, documents: &str, arguments: &[&str]) -> Result<String> {
        let mut child = self
            .brief(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("standard input is piped")?;
        // It may fail before it has read all; what it says is worth more than the broken pipe.
        let written = input.write_all(documents.as_bytes());
        drop(input);
        let printed = outcome(&child.wait_with_output()?, arguments)?;
        written.context("passing documents to kubectl")?;
        Ok(printed)
    }
}

/// The cluster's DNS, as far as tests decide what it answers.
pub trait Names {
    /// Has names resolve from now on, beside those that do already.
    ///
    /// # Errors
    /// If the server cannot be told.
    fn resolve(&self, mark: &str, names: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<()>;
}

/// Waits until every node's enforcer is replaced and ready.
///
/// # Errors
/// If they do not become ready.
pub fn rolled_out(cluster: &dyn Cluster) -> Result<()> {
    let status = ["rollout", "status", "daemonset/enforcer", "--timeout=150s"];
    cluster
        .kubectl(&[&["-n", SYSTEM], status.as_slice()].concat())
        .map(drop)
}

/// What a command has printed.
///
/// # Errors
/// All that it has said, if it has failed.
pub fn outcome(output: &Output, arguments: &[&str]) -> Result<String> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "`{}` ({}): {}{}",
        arguments.join(" "),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
