//! A real Kubernetes node for a test: containerd, kubelet and a control plane in namespaces of their own on this
//! machine's kernel, by `cargo xtask kubernetes node`.
//!
//! ```text
//! xtask -> Node -> kubectl -> Pods (processes in pods) -> table (the conformance table in a cluster)
//! ```
//!
//! Everything outside the node is the network namespace `world`, in which the addresses of documentation are local and
//! nobody listens: what gets through is refused by a reset, which no program of ours sends.

mod cgroups;
mod pods;
mod table;
mod world;

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use self::cgroups::Sweeper;
use crate::{
    fixture::{folder, left, tied},
    kube::missing,
};

pub use pods::Pods;
pub use table::{Table, Tally};
pub use world::World;

/// What is installed on it.
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// The program behind `cargo xtask`, which starts nodes.
const XTASK: &str = "ENFORCER_XTASK";

/// The archive that `cargo xtask image` has written.
const IMAGE: &str = "ENFORCER_IMAGE";

/// How many seconds one command may take.
const PATIENCE: &str = "180";

/// How long a node lives that nobody took down, because its test was killed.
const LIFETIME: &str = "20m";

/// Of the nodes' folders.
const PREFIX: &str = "enforcer-node-";

/// A node that is up.
#[derive(Debug)]
pub struct Node {
    xtask: PathBuf,
    folder: TempDir,
    image: PathBuf,
    /// None until it is up.
    sweeper: Option<Sweeper>,
}

impl Node {
    /// Starts one. None, after a line that says why, where there is nothing to start it with.
    ///
    /// # Errors
    /// If it does not come up; or if there has to be something to start it with.
    pub fn start() -> Result<Option<Self>> {
        let (Some(xtask), Some(image)) = (env::var_os(XTASK), env::var_os(IMAGE)) else {
            missing("real node")?;
            return Ok(None);
        };
        let xtask = PathBuf::from(xtask);
        take_down_left(&xtask)?;
        let folder = folder(PREFIX)?;
        let mut node = Self {
            xtask,
            image: image.into(),
            folder,
            sweeper: None,
        };
        node.run("up", &["--ttl", LIFETIME]).map(drop)?;
        node.sweeper = Some(Sweeper::start(&node)?);
        Ok(Some(node))
    }

    /// Imports the enforcer's image.
    ///
    /// # Errors
    /// If containerd does not take it.
    pub fn import_image(&self) -> Result<()> {
        let image = self.image.to_str().context("the image's path is UTF-8")?;
        self.exec(&["ctr", "--namespace", "k8s.io", "images", "import", image])
            .map(drop)
    }

    /// The folder that deploy/README.md has for this: an overlay, or `crds`, of the node's version.
    ///
    /// # Errors
    /// If the API server does not say its version.
    pub fn overlay(&self, name: &str) -> Result<String> {
        let version: Value = serde_json::from_str(&self.kubectl(&["get", "--raw", "/version"])?)?;
        let minor = version["minor"].as_str().context("it says its version")?;
        let has_field = minor.trim_end_matches('+').parse::<u32>()? >= 30;
        Ok(match (name, has_field) {
            ("crds", true) => format!("{DEPLOY}/crds"),
            (name, true) => format!("{DEPLOY}/overlays/{name}"),
            (name, false) => format!("{DEPLOY}/overlays/before-1.30/{name}"),
        })
    }

    /// What `kubectl` prints with these arguments.
    ///
    /// # Errors
    /// What it complains of.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run("kubectl", &behind(arguments))
    }

    /// What a command prints that runs on the node as root.
    ///
    /// # Errors
    /// What it complains of.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.run("exec", &behind(command))
    }

    /// `kubectl` with `documents` on its standard input.
    ///
    /// # Errors
    /// What it complains of.
    pub fn kubectl_with(&self, documents: &str, arguments: &[&str]) -> Result<String> {
        let mut child = self
            .brief("kubectl", &behind(arguments))
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

    /// What goes on for longer, `exec` or `kubectl`, ready to be started. It ends with the thread that starts it.
    fn command(&self, action: &str, arguments: &[&str]) -> Command {
        let mut command = tied(&self.xtask);
        command
            .args(["kubernetes", "node", action])
            .arg(self.folder.path())
            .args(behind(arguments));
        command
    }

    /// What has to end soon.
    fn brief(&self, action: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", PATIENCE])
            .arg(&self.xtask)
            .args(["kubernetes", "node", action])
            .arg(self.folder.path())
            .args(arguments);
        command
    }

    fn run(&self, action: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .brief(action, arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.xtask.display()))?;
        outcome(&output, arguments)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.run("down", &[]) {
            eprintln!("the node is still there: {error:#}");
        }
        // What it reads from ends with the node.
        drop(self.sweeper.take());
    }
}

/// What stands behind the folder on a command line.
fn behind<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["--"], arguments].concat()
}

/// Takes down the nodes of test processes that were killed.
fn take_down_left(xtask: &Path) -> Result<()> {
    for folder in left(&env::temp_dir(), PREFIX)? {
        let down = ["kubernetes", "node", "down"];
        let output = Command::new(xtask).args(down).arg(&folder).output()?;
        outcome(&output, &["down"])?;
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

fn outcome(output: &Output, arguments: &[&str]) -> Result<String> {
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
