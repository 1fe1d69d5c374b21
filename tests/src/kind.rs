//! A cluster whose nodes are containers, which `cargo xtask kind` has made and takes away.
//!
//! ```text
//! xtask -> Kind (kubectl, docker) -> Cast (servers and clients on every node) -> steps of tests/tests/kind.rs
//!                                `-> Corefile (what the cluster's DNS answers)
//! ```

mod cast;
mod corefile;
mod nodes;

use std::{env, process::Command};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{
    cluster::{Cluster, Recipe, outcome},
    fixture::tied,
};

pub use cast::{CLIENTS, Cast, FREE, OUTSIDE, SERVERS, port};
pub use corefile::Corefile;

/// The image of pods, which the nodes have; its presence says that there is a cluster, `KUBECONFIG` which.
const IMAGE: &str = "ENFORCER_KIND_IMAGE";

/// The test binary in that image.
pub const BINARY: &str = "/enforcer-test";

/// How many seconds one command may take.
const PATIENCE: &str = "200";

/// A cluster that is up.
#[derive(Debug)]
pub struct Kind {
    image: String,
    nodes: Vec<String>,
}

impl Kind {
    /// The one that this process was started for. None, after a line that says so, if it was not.
    ///
    /// # Errors
    /// If the cluster does not name its nodes.
    pub fn given() -> Result<Option<Self>> {
        let Ok(image) = env::var(IMAGE) else {
            println!("SKIPPED: no cluster in containers: run `cargo xtask kind`");
            return Ok(None);
        };
        let mut kind = Self {
            image,
            nodes: Vec::new(),
        };
        let names = kind.kubectl(&["get", "nodes", "-o=jsonpath={.items[*].metadata.name}"])?;
        kind.nodes = names.split_whitespace().map(str::to_owned).collect();
        // The control plane first, by its label.
        let role = ["-l", "node-role.kubernetes.io/control-plane"];
        let control = kind.kubectl(&[&["get", "nodes", "-o", "name"], role.as_slice()].concat())?;
        kind.nodes
            .sort_by_key(|node| !control.contains(&format!("/{node}\n")));
        Ok(Some(kind))
    }

    /// The nodes' names, which are those of their containers; that of the control plane first.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// What `docker` prints with these arguments.
    ///
    /// # Errors
    /// What it complains of.
    pub fn docker(&self, arguments: &[&str]) -> Result<String> {
        let output = limited("docker")
            .args(arguments)
            .output()
            .context("starting docker")?;
        outcome(&output, arguments)
    }

    /// What a shell prints on a node, as root.
    ///
    /// # Errors
    /// What it complains of.
    pub fn on_node(&self, node: &str, script: &str) -> Result<String> {
        self.docker(&["exec", node, "sh", "-c", script])
    }

    /// What its pods are made of.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            spec: json!({ "containers": [self.container(&["sleep"])] }),
            binary: vec![BINARY.to_owned()],
        }
    }

    /// A container that does one of the commands of [`crate::pod`].
    fn container(&self, words: &[&str]) -> serde_json::Value {
        let command = [&[BINARY, crate::pod::ARGUMENT], words].concat();
        json!({ "name": "main", "image": self.image, "command": command })
    }
}

impl Cluster for Kind {
    fn brief(&self, arguments: &[&str]) -> Command {
        let mut command = limited("kubectl");
        command.args(arguments);
        command
    }

    fn lasting(&self, arguments: &[&str]) -> Command {
        let mut command = tied("kubectl");
        command.args(arguments);
        command
    }
}

fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", PATIENCE, program]);
    command
}
