//! Packages of Debian and Ubuntu.

mod archive;
mod private;

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::out::say;
use crate::{
    process::{answer, as_root, run},
    programs::POSTGRESQL,
};

pub(crate) use archive::{Archive, Source};
pub(crate) use private::Private;

/// Whether this system has apt.
pub(crate) fn is_there() -> bool {
    Path::new("/usr/bin/apt-get").is_file()
}

/// The upstream version of `package` that apt would install, without epoch and Debian's revision: `1.96.0`.
pub(crate) fn candidate(package: &str) -> Option<String> {
    // Translated output has other words.
    let policy = answer(
        Command::new("apt-cache")
            .args(["policy", package])
            .env("LC_ALL", "C"),
    )?;
    upstream(&policy)
}

/// Whether the package is there already.
pub(crate) fn is_installed(package: &str) -> bool {
    let status = answer(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]));
    status.is_some_and(|status| status == "install ok installed")
}

/// Reads the lists of packages anew.
pub(crate) fn update() -> Result<()> {
    run(apt_get().args(["-q", "update"]))
}

/// Installs `packages`.
pub(crate) fn install(packages: &[String]) -> Result<()> {
    let (postgresql, others): (Vec<_>, Vec<_>) =
        packages.iter().cloned().partition(|name| name == POSTGRESQL);
    if !others.is_empty() {
        install_plainly(&others)?;
    }
    if !postgresql.is_empty() {
        install_postgresql()?;
    }
    Ok(())
}

/// Fetches `packages` and those that they need and that are not installed, and changes nothing else.
pub(crate) fn download(into: &Path, packages: &[String]) -> Result<()> {
    let download = || {
        let mut download = Command::new("apt-get");
        // No lock: nothing of the system is written.
        download
            .args([
                "-q",
                "install",
                "--download-only",
                "--yes",
                "--no-install-recommends",
            ])
            .args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o"])
            .arg(format!("Dir::Cache::archives={}", into.display()))
            .args(packages);
        download
    };
    if let Err(error) = run(&mut download()) {
        say!("setup: {error}; trying once more with new lists of packages");
        update()?;
        run(&mut download())?;
    }
    Ok(())
}

fn install_plainly(packages: &[String]) -> Result<()> {
    let mut install = apt_get();
    install
        .args(["-q", "install", "--yes", "--no-install-recommends"])
        .args(packages);
    if let Err(error) = run(&mut install) {
        // Lists that are some days old name versions that the archive no longer has.
        say!("setup: {error}; trying once more with new lists of packages");
        update()?;
        run(&mut install)?;
    }
    Ok(())
}

/// Installs the server without the cluster that the package would create and start.
fn install_postgresql() -> Result<()> {
    const SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";
    const KEPT: &str = "/etc/postgresql-common/createcluster.conf.kept";
    install_plainly(&["postgresql-common".into()])?;
    run(as_root("cp").args(["--preserve", SETTINGS, KEPT]))?;
    let installed = run(as_root("pg_conftool").args([SETTINGS, "set", "create_main_cluster", "off"]))
        .and_then(|()| install_plainly(&[POSTGRESQL.into()]));
    // The machine's own setting comes back however the installation ended.
    run(as_root("mv").args([KEPT, SETTINGS]))?;
    installed
}

/// apt-get that asks nothing and waits for another one to finish.
fn apt_get() -> Command {
    let mut command = as_root("env");
    command.args([
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-o",
        "DPkg::Lock::Timeout=300",
    ]);
    command
}

fn upstream(policy: &str) -> Option<String> {
    let candidate = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    if candidate == "(none)" {
        return None;
    }
    let version = candidate
        .split_once(':')
        .map_or(candidate, |(_epoch, version)| version);
    let end = version
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(version.len());
    Some(version[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_upstream_part_of_the_candidate() {
        for (candidate, version) in [
            ("1.96.0+dfsg1-1~deb12u2", Some("1.96.0")),
            ("1:22.1.8-1~deb12u1", Some("22.1.8")),
            ("1.85-1", Some("1.85")),
            ("(none)", None),
        ] {
            let policy =
                format!("rustc-web:\n  Installed: (none)\n  Candidate: {candidate}\n  Version table:\n");
            assert_eq!(upstream(&policy).as_deref(), version, "{candidate}");
        }
    }

    #[test]
    fn unknown_package_has_no_version() {
        assert_eq!(upstream(""), None);
    }
}
