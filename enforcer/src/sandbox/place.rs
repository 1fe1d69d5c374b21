//! Where one sandbox is: a folder for root alone, and cgroups that nobody but root can change.
//!
//! ```text
//! /run/enforcer-sandbox/<number>/        place.json, lock, the enforcer's configuration and state, its bpffs
//! <cgroup>/enforcer-sandbox-<number>/    command: what is enforced; guard: what watches over it
//! ```
//!
//! The lock is held by the supervisor and the guard together. A folder whose lock is free is what both have left when
//! they were killed at once; the next sandbox takes it away.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::state;

/// Where the folders are.
pub(super) const FOLDER: &str = "/run/enforcer-sandbox";

pub(super) const FILE: &str = "place.json";

/// The place of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Where cgroup v2 is mounted.
    pub(super) mount: PathBuf,
    /// Its cgroup below that.
    pub(super) cgroup: PathBuf,
}

impl Place {
    /// The one in this folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = fs::read(folder.join(FILE)).with_context(|| format!("reading {}", folder.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", folder.display()))
    }

    /// Where the enforcer pins.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.folder.join("bpffs")
    }

    /// The enforcer's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("enforcer.yaml")
    }

    /// What the command may reach.
    pub(super) fn registry(&self) -> PathBuf {
        self.folder.join("registry")
    }

    /// The enforcer's state.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The cgroup of the command.
    pub(super) fn command(&self) -> PathBuf {
        self.cgroup.join("command")
    }

    /// The cgroup of the guard and the enforcer: who ends all processes of the caller's cgroup does not end these.
    pub(super) fn guard(&self) -> PathBuf {
        self.cgroup.join("guard")
    }

    /// The folder of a cgroup.
    pub(super) fn below_mount(&self, cgroup: &Path) -> PathBuf {
        self.mount.join(cgroup.strip_prefix("/").unwrap_or(cgroup))
    }
}

/// Opens the folder of all sandboxes, locked: nobody else makes or removes one meanwhile.
pub(super) fn enter() -> Result<File> {
    loop {
        state::own(Path::new(FOLDER))?;
        let all = File::open(FOLDER).with_context(|| format!("opening {FOLDER}"))?;
        all.lock().with_context(|| format!("locking {FOLDER}"))?;
        // Who has left last has removed it.
        let there = fs::metadata(FOLDER).map(|there| there.ino()).ok();
        if there == Some(all.metadata()?.ino()) {
            return Ok(all);
        }
    }
}

/// Removes the folder of all sandboxes if this was the last one.
pub(super) fn leave() -> Result<()> {
    if !Path::new(FOLDER).exists() {
        return Ok(());
    }
    let _all = enter()?;
    match fs::remove_dir(FOLDER) {
        Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
            Err(error).with_context(|| format!("removing {FOLDER}"))
        }
        _ => Ok(()),
    }
}
