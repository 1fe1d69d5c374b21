//! Go, as the packages bring it: its folders and its environment, apart from what else this machine has of Go.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, bail};

use super::{archive::Release, folder::Folder};

/// How every package of Kubernetes begins.
pub(super) const MODULE: &str = "k8s.io/kubernetes";

/// The compiler and its folders.
pub(super) struct Go {
    unpacked: PathBuf,
    path: PathBuf,
}

impl Go {
    pub(super) fn below(folder: &Folder) -> Self {
        Self {
            unpacked: folder.work().join("compiler"),
            path: folder.work().join("go"),
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.unpacked.is_dir()
    }

    pub(super) fn fetch(&self, release: &Release) -> Result<()> {
        release.compiler(&self.unpacked)
    }

    /// Where Kubernetes' source lies, so that the compiler finds its packages.
    pub(super) fn source(&self) -> PathBuf {
        self.path.join("src").join(MODULE)
    }

    /// A library that Debian packages.
    pub(super) fn library(&self, name: &str) -> PathBuf {
        self.unpacked.join("usr/share/gocode/src").join(name)
    }

    fn root(&self) -> PathBuf {
        self.unpacked.join("usr/lib/go-1.19")
    }

    /// Gives a program Go's environment.
    pub(super) fn apply(&self, command: &mut Command) {
        command
            .env("GOROOT", self.root())
            .env("GOPATH", &self.path)
            .env("GOCACHE", self.path.with_file_name("go-cache"))
            // The source is from before modules were the rule, and everything that it needs is in it.
            .env("GO111MODULE", "off")
            .env("GOPROXY", "off")
            .env("GOFLAGS", "")
            .env("GOENV", "off")
            .env("CGO_ENABLED", "0");
    }

    /// Compiles one package of the source.
    pub(super) fn build(&self, package: &str, output: &Path, flags: &[String]) -> Result<()> {
        let mut build = tied(&self.root().join("bin/go"));
        build
            .args(["build", "-trimpath", "-o"])
            .arg(output)
            .args(flags)
            .arg(package)
            .current_dir(self.source());
        self.apply(&mut build);
        succeed(&mut build).with_context(|| format!("compiling {package}"))
    }
}

/// A command that leaves others the processors, and ends with this process: the next build finds nobody at work.
pub(super) fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "nice"]).arg(program);
    command
}

/// Runs what says something only where it fails.
pub(super) fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let Output { status, stderr, .. } = command.output().with_context(|| format!("starting {program}"))?;
    if !status.success() {
        let text = String::from_utf8_lossy(&stderr);
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(20)..];
        bail!("{program} has failed ({status}): {}", last.join("\n"));
    }
    Ok(())
}
