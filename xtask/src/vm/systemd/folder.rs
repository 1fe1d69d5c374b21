//! Where disks are kept, and folders that go with the process that made them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use enforcer_bpf_build::toolchain_root;

use crate::{out::complain, process::as_root};

/// Disks, by the digests of their recipes.
pub(super) struct Cache(PathBuf);

impl Cache {
    /// Beside the toolchain. What killed processes have left in it is removed.
    pub(super) fn open() -> Result<Self> {
        let toolchain =
            toolchain_root().context("neither HOME nor ENFORCER_CACHE is set: no place to keep machines")?;
        let folder = toolchain.parent().unwrap_or(&toolchain).join("systemd-vm");
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let cache = Self(folder);
        cache.remove(|name| owner(name).is_some_and(|process| !is_alive(process)))?;
        Ok(cache)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Removes disks of other recipes.
    pub(super) fn keep_only(&self, kept: &str) -> Result<()> {
        self.remove(|name| owner(name).is_none() && name != kept)
    }

    fn remove(&self, is_unwanted: impl Fn(&str) -> bool) -> Result<()> {
        for entry in fs::read_dir(&self.0).with_context(|| format!("reading {}", self.0.display()))? {
            let entry = entry?;
            if is_unwanted(&entry.file_name().to_string_lossy()) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// A folder that is removed in the end; one of a killed process by the next.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new(cache: &Cache, what: &str) -> Result<Self> {
        let folder = cache.0.join(format!("{what}-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(Self(folder))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A disk that was finished has another name by now.
        if self.0.exists()
            && let Err(error) = remove(&self.0)
        {
            complain!("{error:#}");
        }
    }
}

/// The process whose folder has this name.
fn owner(name: &str) -> Option<u32> {
    name.split_once('-')?.1.parse().ok()
}

fn is_alive(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

/// Disks that are half made have files of root's.
fn remove(folder: &Path) -> Result<()> {
    let status = as_root("rm").args(["-rf", "--"]).arg(folder).status();
    let is_gone = status.is_ok_and(|status| status.success());
    anyhow::ensure!(is_gone, "{} cannot be removed", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_a_process_is_told_from_a_disk() {
        assert_eq!(owner("run-123"), Some(123));
        assert_eq!(owner("0011223344556677"), None);
    }
}
