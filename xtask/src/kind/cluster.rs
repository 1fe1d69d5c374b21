//! The cluster: made by kind, with a kubeconfig that nobody else uses, and taken away when it is dropped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use super::{Arguments, commands};
use crate::{
    out::{complain, say},
    process::{answer, run as run_visibly},
};

/// Its name.
const NAME: &str = "enforcer";

/// A cluster that is up.
pub(super) struct Cluster {
    nodes: u8,
    /// None once it is to stay.
    folder: Option<TempDir>,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Makes it.
    pub(super) fn create(arguments: &Arguments) -> Result<Self> {
        let there = answer(Command::new("kind").args(["get", "clusters"])).unwrap_or_default();
        if there.lines().any(|name| name == NAME) {
            bail!("there is a cluster of that name; `kind delete cluster --name {NAME}` removes it");
        }
        let folder = tempfile::Builder::new().prefix("enforcer-kind-").tempdir()?;
        let cluster = Self {
            nodes: arguments.nodes,
            kubeconfig: folder.path().join("kubeconfig"),
            folder: Some(folder),
        };
        let config = cluster.kubeconfig.with_file_name("kind.yaml");
        fs::write(&config, configuration(arguments.nodes)).context("writing kind's configuration")?;
        let mut create = cluster.kind(&["create", "cluster", "--wait", "3m", "--config"]);
        create.arg(config);
        if let Some(image) = &arguments.image {
            create.args(["--image", image]);
        }
        ensure!(commands::run(&mut create)?.success(), "kind makes no cluster");
        Ok(cluster)
    }

    /// Waits until every node is ready: kind itself waits for the control plane alone.
    pub(super) fn wait(&self) -> Result<()> {
        let wait = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=3m"];
        let status = commands::run(self.kubectl().args(wait))?;
        ensure!(status.success(), "the nodes do not become ready");
        Ok(())
    }

    /// Has every node import the images of an archive.
    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        let mut load = Command::new("kind");
        load.args(["load", "image-archive", "--name", NAME]).arg(archive);
        ensure!(
            commands::run(&mut load)?.success(),
            "the nodes do not take {}",
            archive.display()
        );
        Ok(())
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(super) fn nodes(&self) -> u8 {
        self.nodes
    }

    /// `kubectl` for this cluster alone.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Leaves it there.
    pub(super) fn keep(mut self) {
        if let Some(folder) = self.folder.take() {
            let folder = folder.keep();
            say!(
                "kind: the cluster stays: export KUBECONFIG={}",
                self.kubeconfig.display()
            );
            say!(
                "kind: `kind delete cluster --name {NAME} && rm -r {}` removes it",
                folder.display()
            );
        }
    }

    /// kind with a kubeconfig of its own: left to itself, it changes the user's, and the context in it.
    fn kind(&self, words: &[&str]) -> Command {
        let (begin, rest) = words.split_at(2);
        let mut command = Command::new("kind");
        command
            .args(begin)
            .args(["--name", NAME, "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(rest);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.is_some()
            && let Err(error) = run_visibly(&mut self.kind(&["delete", "cluster"]))
        {
            complain!("kind: the cluster is still there: {error:#}");
        }
    }
}

fn configuration(nodes: u8) -> String {
    let workers = "- role: worker\n".repeat(usize::from(nodes.saturating_sub(1)));
    format!("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n{workers}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_is_the_control_plane_and_the_others_are_workers() {
        let roles = |nodes| {
            let text = configuration(nodes);
            (
                text.matches("control-plane").count(),
                text.matches("worker").count(),
            )
        };
        assert_eq!(roles(1), (1, 0));
        assert_eq!(roles(3), (1, 2));
    }
}
