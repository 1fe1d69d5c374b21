//! A real Kubernetes node for a test: containerd, kubelet and a control plane in namespaces of their own on this
//! machine's kernel, by `cargo xtask kubernetes node`.
//!
//! Everything outside the node is the network namespace `world`, in which the addresses of documentation are local and
//! nobody listens: what gets through is refused by a reset, which no program of ours sends.

mod cgroups;
mod world;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::TempDir;

use self::cgroups::Sweeper;
use crate::{
    cluster::{Cluster, Recipe, outcome},
    fixture::{folder, left, tied},
    kube::missing,
};

pub use world::World;

/// The program behind `cargo xtask`, which starts nodes.
const XTASK: &str = "ENFORCER_XTASK";

/// The archive that `cargo xtask image` has written.
const IMAGE: &str = "ENFORCER_IMAGE";

/// How many seconds one command may take.
const PATIENCE: &str = "180";

/// How long a node lives that nobody took down, because its test was killed.
const LIFETIME: &str = "20m";

/// Where a pod has the machine's files.
const MACHINE: &str = "/machine";

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
        Self::start_for(LIFETIME)
    }

    /// Starts one that lives for as long as this says, such as `40m`, unless somebody takes it down.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_for(lifetime: &str) -> Result<Option<Self>> {
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
        node.run("up", &["--ttl", lifetime]).map(drop)?;
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

    /// What its pods are made of. The test binary needs the machine's libraries, so pods have the machine's files, and it
    /// is run inside them.
    pub fn recipe(&self, binary: &str) -> Recipe {
        Recipe {
            spec: json!({
                "volumes": [{ "name": "machine", "hostPath": { "path": "/" } }],
                "containers": [{
                    "name": "main",
                    "image": "busybox:local",
                    "command": ["sleep", "86400"],
                    "volumeMounts": [{ "name": "machine", "mountPath": MACHINE, "readOnly": true }],
                }],
            }),
            binary: ["chroot", MACHINE, binary].map(str::to_owned).into(),
        }
    }

    /// What a command prints that runs on the node as root.
    ///
    /// # Errors
    /// What it complains of.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.run("exec", &behind(command))
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
    fn limited(&self, action: &str, arguments: &[&str]) -> Command {
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
            .limited(action, arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.xtask.display()))?;
        outcome(&output, arguments)
    }
}

impl Cluster for Node {
    fn brief(&self, arguments: &[&str]) -> Command {
        self.limited("kubectl", &behind(arguments))
    }

    fn lasting(&self, arguments: &[&str]) -> Command {
        self.command("kubectl", arguments)
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
