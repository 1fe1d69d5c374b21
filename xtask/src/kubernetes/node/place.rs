//! What of a node the machine sees: a folder and a cgroup.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{
    cgroup,
    kubernetes::{certificates::Certificates, folder::remove, running::Running},
};

/// Where the node finds its folder.
pub(super) const ON_NODE: &str = "/run/kubernetes";

/// Files of the node, with those of its folder that something is mounted on.
const FOLDERS: [&str; 6] = ["kubelet", "log", "manifests", "networks", "programs", "run"];
const FILES: [(&str, &str); 5] = [
    ("containerd.toml", include_str!("../files/containerd.toml")),
    ("kubelet.yaml", include_str!("../files/kubelet.yaml")),
    ("networks/pods.conflist", include_str!("../files/pods.conflist")),
    ("resolv.conf", "nameserver 172.31.0.1\n"),
    ("xtask", ""),
];

/// Where a node is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: PathBuf,
    cgroup: PathBuf,
}

impl Place {
    /// Of a node that may be there.
    pub(super) fn find(dir: &Path) -> Result<Self> {
        let dir = match fs::canonicalize(dir) {
            Ok(dir) => dir,
            Err(_) => std::path::absolute(dir)?,
        };
        // Several nodes are side by side, each with a folder of its own.
        let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        let mark: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let cgroup = cgroup::mount()?.join(format!("kubernetes-node-{mark}"));
        Ok(Self { dir, cgroup })
    }

    /// Of one that is going to be.
    pub(super) fn make(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        Self::find(dir)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder with all that goes with the node.
    pub(super) fn files(&self) -> PathBuf {
        self.dir.join("node")
    }

    pub(super) fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Of the processes that belong to no pod.
    pub(super) fn own_cgroup(&self) -> PathBuf {
        self.cgroup.join("init")
    }

    /// The log of a component.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("log").join(format!("{name}.log"))
    }

    /// Where the node's first process is noted, by its pid on the machine.
    pub(super) fn init(&self) -> PathBuf {
        self.files().join("pid")
    }

    pub(super) fn supervisor(&self) -> PathBuf {
        self.files().join("supervisor")
    }

    /// Whether a node is up, and has said so.
    pub(super) fn is_ready(&self) -> bool {
        self.files().join(super::READY).is_file() && Running::noted(&self.init()).is_some()
    }

    /// One command at a time.
    pub(super) fn lock(&self) -> Result<File> {
        let file = File::open(&self.dir).with_context(|| format!("opening {}", self.dir.display()))?;
        file.lock().context("waiting for another command")?;
        Ok(file)
    }

    /// The same, if no command is at work.
    pub(super) fn try_lock(&self) -> Option<File> {
        let file = File::open(&self.dir).ok()?;
        file.try_lock().is_ok().then_some(file)
    }

    /// Makes folder and cgroup.
    pub(super) fn prepare(&self) -> Result<()> {
        remove(&self.dir.join("log"))?;
        fs::create_dir_all(self.dir.join("log/pods")).context("making a folder for logs")?;
        let files = self.files();
        for folder in FOLDERS {
            fs::create_dir_all(files.join(folder)).with_context(|| format!("making a folder {folder}"))?;
        }
        for (name, text) in FILES {
            fs::write(files.join(name), text).with_context(|| format!("writing {name}"))?;
        }
        let runtime = files.join("oci-runtime");
        fs::write(&runtime, runtime_script()).context("writing the runtime")?;
        fs::set_permissions(&runtime, PermissionsExt::from_mode(0o755))?;
        Certificates::at(files.join("certificates")).make(&super::network::server())?;
        fs::create_dir_all(self.own_cgroup())
            .with_context(|| format!("creating {}", self.own_cgroup().display()))
    }

    /// Ends a node, whatever is left of it, and removes it.
    pub(super) fn take_down(&self) -> Result<()> {
        if let Some(init) = Running::noted(&self.init()) {
            init.kill()?;
        }
        if let Some(supervisor) = Running::noted(&self.supervisor()) {
            supervisor.end()?;
        }
        self.clear()
    }

    /// Removes what a node has left that has ended.
    pub(super) fn clear(&self) -> Result<()> {
        cgroup::remove(&self.cgroup).with_context(|| format!("removing {}", self.cgroup.display()))?;
        remove(&self.files())
    }
}

/// containerd passes no arguments of ours to what it runs.
fn runtime_script() -> String {
    format!("#!/bin/sh\nexec {ON_NODE}/xtask kubernetes oci-runtime -- \"$@\"\n")
}
