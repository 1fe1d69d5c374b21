//! apt with a state of its own: what it fetches is not installed, and the machine's own apt does not see any of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// Seconds after which an archive that does not answer is not there.
const PATIENCE: &str = "300";

/// apt with one source, and nothing installed.
pub(crate) struct Private {
    folder: TempDir,
}

impl Private {
    /// `sources` are lines of a `sources.list`; its state is in a new folder below `parent`.
    ///
    /// # Errors
    /// If there is no room for that.
    pub(crate) fn new(sources: &str, architecture: &str, parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("enforcer-apt-")
            .tempdir_in(parent)
            .with_context(|| format!("making a folder in {}", parent.display()))?;
        let path = folder.path();
        for made in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(path.join(made))?;
        }
        fs::write(path.join("sources.list"), sources)?;
        fs::write(path.join("status"), "")?;
        fs::write(path.join("apt.conf"), configuration(path, architecture))?;
        Ok(Self { folder })
    }

    /// What the program prints; its messages are the error.
    ///
    /// # Errors
    /// If it fails.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new("timeout")
            .args([PATIENCE, program, "-c"])
            .arg(self.folder.path().join("apt.conf"))
            .args(arguments)
            .current_dir(self.downloads())
            .env("LC_ALL", "C")
            .output()
            .with_context(|| format!("starting {program}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = errors
            .lines()
            .filter(|line| line.starts_with("E:") || line.starts_with("Err:"))
            .collect();
        ensure!(
            output.status.success(),
            "{program} {}: {}",
            arguments.join(" "),
            if lines.is_empty() {
                output.status.to_string()
            } else {
                lines.join("; ")
            }
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Where it puts what it downloads.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    /// Unpacks the packages that were downloaded into a folder that goes with the state.
    ///
    /// # Errors
    /// If one is broken.
    pub(crate) fn unpack(&self) -> Result<PathBuf> {
        let unpacked = self.folder.path().join("unpacked");
        self.unpack_into(&unpacked)?;
        Ok(unpacked)
    }

    /// Unpacks the packages that were downloaded.
    ///
    /// # Errors
    /// If one is broken.
    pub(crate) fn unpack_into(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        for package in fs::read_dir(self.downloads())? {
            let package = package?.path();
            let status = Command::new("dpkg-deb")
                .arg("--extract")
                .args([package.as_path(), folder])
                .status()
                .context("starting dpkg-deb")?;
            ensure!(status.success(), "dpkg-deb cannot unpack {}", package.display());
        }
        Ok(())
    }
}

/// Apart from the machine's own, but with its proxies and certificates.
fn configuration(folder: &Path, architecture: &str) -> String {
    let folder = folder.display();
    format!(
        r#"Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
// The user that apt fetches as cannot write into this folder.
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::Retries "2";
// What a machine does after its own updates is about its own state.
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"#
    )
}
