//! A real Kubernetes node for a test: containerd, kubelet and a control plane in namespaces of their own on this
//! machine's kernel, by the script `node.sh` in the folder that `REAL_KUBERNETES` names.
//!
//! ```text
//! node.sh -> Node -> kubectl -> Pods (processes in pods) -> table (the conformance table in a cluster)
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
use tempfile::TempDir;

use self::cgroups::Sweeper;
use crate::ground::{folder, left, tied};

pub use pods::Pods;
pub use table::{Table, Tally};
pub use world::World;

/// The folder with the scripts.
const SCRIPTS: &str = "REAL_KUBERNETES";

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
    script: PathBuf,
    folder: TempDir,
    image: PathBuf,
    /// None until it is up.
    sweeper: Option<Sweeper>,
}

impl Node {
    /// Starts one. None, after a line that says why, where there is nothing to start it with.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> Result<Option<Self>> {
        let (Some(scripts), Some(image)) = (env::var_os(SCRIPTS), env::var_os(IMAGE)) else {
            println!(
                "SKIPPED: no real node: {SCRIPTS} (the folder of node.sh) and {IMAGE} (what `cargo xtask image --output` \
                 has written) have to be set"
            );
            return Ok(None);
        };
        let script = Path::new(&scripts).join("node.sh");
        take_down_left(&script)?;
        let folder = folder(PREFIX)?;
        let mut node = Self {
            script,
            image: image.into(),
            folder,
            sweeper: None,
        };
        node.script("up", &[]).map(drop)?;
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

    /// What `kubectl` prints with these arguments.
    ///
    /// # Errors
    /// What it complains of.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.script("kubectl", arguments)
    }

    /// What a command prints that runs on the node as root.
    ///
    /// # Errors
    /// What it complains of.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        self.script("exec", command)
    }

    /// `kubectl` with `documents` on its standard input.
    ///
    /// # Errors
    /// What it complains of.
    pub fn kubectl_with(&self, documents: &str, arguments: &[&str]) -> Result<String> {
        let mut child = self
            .brief("kubectl", arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("standard input is piped")?;
        // It may fail before it has read all; what it says is worth more than the broken pipe.
        let written = input.write_all(documents.as_bytes());
        drop(input);
        let printed = outcome(&child.wait_with_output()?, arguments)?;
        written.context("handing documents to kubectl")?;
        Ok(printed)
    }

    /// What goes on for longer, `exec` or `kubectl`, ready to be started. It ends with the thread that starts it.
    fn command(&self, action: &str, arguments: &[&str]) -> Command {
        let mut command = tied(&self.script);
        command.arg(action).arg(self.folder.path()).args(arguments);
        command
    }

    /// What has to end soon.
    fn brief(&self, action: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", PATIENCE])
            .arg(&self.script)
            .arg(action)
            .arg(self.folder.path())
            .args(arguments)
            .env("KUBE_TTL", LIFETIME);
        command
    }

    fn script(&self, action: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .brief(action, arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.script.display()))?;
        outcome(&output, arguments)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.script("down", &[]) {
            eprintln!("the node is still there: {error:#}");
        }
        // What it reads from ends with the node.
        drop(self.sweeper.take());
    }
}

/// Takes down the nodes of test processes that were killed.
fn take_down_left(script: &Path) -> Result<()> {
    for folder in left(&env::temp_dir(), PREFIX)? {
        let output = Command::new(script).arg("down").arg(&folder).output()?;
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
