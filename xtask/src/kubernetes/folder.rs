//! Where what is built is kept.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::toolchain_root;

use crate::{out::say, process::is_program};

/// Raised by every change of the build that has to replace what is there.
const RECIPE: &str = "2";

/// Programs that are compiled, by their folder in the source.
pub(super) const COMPILED: [&str; 5] = [
    "kube-apiserver",
    "kubelet",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
];

/// Programs that Debian has compiled.
pub(super) const UNPACKED: [&str; 7] = [
    "kubectl",
    "etcd",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
    "busybox",
];

/// Plugins for pods' networks, in a folder of their own.
pub(super) const PLUGINS: [&str; 4] = ["bridge", "host-local", "loopback", "portmap"];

/// The folder with the programs, or where they will be.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// At the path that is asked for, else among the other caches of this project.
    ///
    /// # Errors
    /// If nothing says where those are.
    pub(crate) fn new(asked: Option<&Path>) -> Result<Self> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => toolchain_root()
                .context("neither HOME nor ENFORCER_CACHE is set: no folder for Kubernetes")?
                .with_file_name("kubernetes"),
        };
        Ok(Self(std::path::absolute(path)?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.0.join("bin")
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// The plugins of networks.
    pub(super) fn plugins(&self) -> PathBuf {
        self.0.join("cni")
    }

    /// What is needed only until all is built.
    pub(super) fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub(super) fn lacks(&self, program: &str) -> bool {
        !is_program(&self.program(program))
    }

    fn lacks_plugin(&self, plugin: &str) -> bool {
        !is_program(&self.plugins().join(plugin))
    }

    pub(super) fn lacks_packages(&self) -> bool {
        UNPACKED.iter().any(|name| self.lacks(name)) || PLUGINS.iter().any(|name| self.lacks_plugin(name))
    }

    /// Whether all is there, made by this recipe.
    pub(super) fn is_complete(&self) -> bool {
        self.is_of_this_recipe() && !self.lacks_packages() && !COMPILED.iter().any(|name| self.lacks(name))
    }

    /// # Errors
    /// Says how to mend it.
    pub(super) fn expect_complete(&self) -> Result<()> {
        ensure!(
            self.is_complete(),
            "no Kubernetes in {}: run `cargo xtask kubernetes build`",
            self.0.display()
        );
        Ok(())
    }

    fn is_of_this_recipe(&self) -> bool {
        fs::read_to_string(self.0.join("recipe")).is_ok_and(|recipe| recipe.trim() == RECIPE)
    }

    /// Makes the folder this process's alone for as long as the file lives.
    pub(super) fn lock(&self) -> Result<File> {
        fs::create_dir_all(&self.0).with_context(|| format!("creating {}", self.0.display()))?;
        let path = self.0.join("lock");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        if let Err(error) = file.try_lock() {
            say!("kubernetes: waiting for another build ({error})");
            file.lock()
                .with_context(|| format!("locking {}", path.display()))?;
        }
        Ok(file)
    }

    /// Empties the folder if another recipe has filled it. What this one has begun is gone on with.
    pub(super) fn begin(&self) -> Result<()> {
        if !self.is_of_this_recipe() {
            for old in [self.programs(), self.plugins(), self.work()] {
                remove(&old)?;
            }
        }
        for new in [self.programs(), self.plugins(), self.work()] {
            fs::create_dir_all(&new).with_context(|| format!("creating {}", new.display()))?;
        }
        fs::write(self.0.join("recipe"), RECIPE).context("noting the recipe")
    }

    /// Takes away what was needed for building alone.
    pub(super) fn finish(&self) -> Result<()> {
        remove(&self.work())
    }
}

/// Removes a folder with all below it, if it is there.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fill(folder: &Folder) {
        let programs = COMPILED.iter().chain(&UNPACKED).map(|name| folder.program(name));
        for program in programs.chain(PLUGINS.iter().map(|name| folder.plugins().join(name))) {
            fs::write(&program, "").unwrap();
            fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn folder_is_complete_with_all_programs_of_this_recipe() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(temporary.path())).unwrap();
        assert!(!folder.is_complete());
        folder.begin().unwrap();
        assert!(!folder.is_complete());
        fill(&folder);
        assert!(folder.is_complete());
        fs::remove_file(folder.plugins().join("bridge")).unwrap();
        assert!(!folder.is_complete());
    }

    #[test]
    fn what_another_recipe_has_made_is_made_anew() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::new(Some(temporary.path())).unwrap();
        folder.begin().unwrap();
        fill(&folder);
        folder.begin().unwrap();
        assert!(folder.is_complete(), "what is there is kept");
        fs::write(temporary.path().join("recipe"), "0").unwrap();
        assert!(!folder.is_complete());
        folder.begin().unwrap();
        assert!(folder.lacks("kubelet"));
    }
}
