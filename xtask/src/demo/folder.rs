//! What the demo makes outside its namespaces: two cgroups and a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{cgroup, out::say};
use anyhow::{Context, Result};

const PREFIX: &str = "enforcer-demo-";

/// The demo's cgroups and its folder.
pub(super) struct Scratch {
    mount: PathBuf,
    name: String,
    folder: tempfile::TempDir,
}

impl Scratch {
    /// Makes them, and removes those of demos that were killed.
    pub(super) fn new() -> Result<Self> {
        let mount = cgroup::mount()?;
        sweep(&mount)?;
        let name = format!("{PREFIX}{}", std::process::id());
        fs::create_dir(mount.join(&name))
            .with_context(|| format!("creating a cgroup in {}", mount.display()))?;
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .context("making a temporary folder")?;
        // PostgreSQL runs as another user, and has to get into its own folder below this one.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).context("opening the temporary folder")?;
        Ok(Self { mount, name, folder })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// As configurations write it.
    pub(super) fn cgroup_path(&self) -> PathBuf {
        Path::new("/").join(&self.name)
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    pub(super) fn remove(self) -> Result<()> {
        cgroup::remove(&self.mount.join(&self.name)).context("removing the demo's cgroups")?;
        self.folder.close().context("removing the demo's folder")
    }
}

/// Ends what a killed demo has left, and removes it.
fn sweep(mount: &Path) -> Result<()> {
    for entry in fs::read_dir(mount).context("reading the cgroups")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        say!("demo: removing {name}, which a killed demo has left");
        cgroup::remove(&entry.path())?;
        for folder in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let is_left = folder.file_name().to_string_lossy().starts_with(PREFIX);
            if is_left && let Err(error) = fs::remove_dir_all(folder.path()) {
                say!("demo: {} is still there: {error}", folder.path().display());
            }
        }
    }
    Ok(())
}
