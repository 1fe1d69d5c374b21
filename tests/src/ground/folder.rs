//! Folders that go with a test, and what killed test processes have left.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// A name for what this process makes begins with this.
pub(crate) fn own(prefix: &str) -> String {
    format!("{prefix}{}-", process::id())
}

/// What processes that have ended made in a folder by names that begin with `prefix`.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn left(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            left.push(entry.path());
        }
    }
    Ok(left)
}

/// Takes away what [`left`] finds, as far as it can be.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn clear(folder: &Path, prefix: &str, take_away: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    for left in left(folder, prefix)? {
        match take_away(&left) {
            // Another test may do so at the same time.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let left = left.display();
                eprintln!("{left} of a process that has ended is still there: {error}");
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a folder for temporary files. Those that killed processes have left go first.
///
/// # Errors
/// If there is no room.
pub(crate) fn folder(prefix: &str) -> Result<TempDir> {
    clear(&env::temp_dir(), prefix, |left| fs::remove_dir_all(left))?;
    Ok(tempfile::Builder::new().prefix(&own(prefix)).tempdir()?)
}

/// A bpffs that is mounted for as long as this lives, or the thread's own mounts last.
#[derive(Debug)]
pub struct Bpffs(PathBuf);

impl Bpffs {
    /// Mounts it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn mount(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        mount(Some("bpf"), &folder, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mounting a bpffs")?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        match umount2(&self.0, MntFlags::MNT_DETACH) {
            // The test has unmounted it.
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => eprintln!("{} is still mounted: {error}", self.0.display()),
        }
    }
}
