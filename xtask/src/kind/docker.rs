//! Whether Docker's privileged containers, which kind's nodes are, have the capabilities for BPF.
//!
//! Docker gives them all capabilities that it knows by name. Before 23.0, CAP_PERFMON and CAP_BPF are not among them,
//! whatever the kernel has, and no process of a node or of its pods can have them.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;

use super::WHAT;
use crate::{process::answer, unavailable::Unavailable};

/// The first with these capabilities.
const FIRST: u32 = 23;

/// Their numbers: CAP_PERFMON and CAP_BPF.
const NEEDED: u64 = 1 << 38 | 1 << 39;

/// An image that is there for a moment.
const IMAGE: &str = "enforcer-kind-check:latest";

/// Ends the command where the server does not answer, or the enforcer could not start in its containers.
pub(super) fn check() -> Result<()> {
    let version = ["version", "--format", "{{.Server.Version}}"];
    let version = answer(Command::new("docker").args(version).stderr(Stdio::null()));
    let Some(version) = version.map(|version| version.trim().to_owned()) else {
        let why = "Docker's server does not answer: `docker info` says why";
        return Err(Unavailable(WHAT, why.to_owned()).into());
    };
    let is_enough = major(&version).is_none_or(|major| major >= FIRST);
    // Another runtime may give more than the version says.
    if is_enough || bounding_set().is_some_and(|set| set & NEEDED == NEEDED) {
        return Ok(());
    }
    let why = format!(
        "Docker {version} withholds CAP_BPF and CAP_PERFMON from privileged containers, which kind's nodes are, so that \
         no pod can have them; Docker {FIRST}.0 or newer gives them"
    );
    Err(Unavailable(WHAT, why).into())
}

/// The number before the first dot.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// The bounding set of a privileged container: an empty image, and `grep` with its libraries from this machine. None
/// where Docker is on another one, which has them elsewhere.
fn bounding_set() -> Option<u64> {
    let mut import = Command::new("docker")
        .args(["import", "-", IMAGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // The end of an archive is an archive of nothing.
    import.stdin.take()?.write_all(&[0; 1024]).ok()?;
    if !import.wait().ok()?.success() {
        return None;
    }
    let folders = ["/bin", "/lib", "/lib64", "/usr"].into_iter();
    let mounts = folders
        .filter(|folder| Path::new(folder).is_dir())
        .map(|folder| format!("--mount=type=bind,source={folder},target={folder},readonly"));
    let mut run = Command::new("docker");
    run.args(["run", "--rm", "--privileged", "--network=none"])
        .args(mounts)
        .args([IMAGE, "/bin/grep", "CapBnd", "/proc/self/status"])
        .stderr(Stdio::null());
    let line = answer(&mut run);
    // That it stays is no reason to end.
    answer(Command::new("docker").args(["rmi", IMAGE]).stderr(Stdio::null()));
    capabilities(&line?)
}

/// The set in a line of `/proc/PID/status`.
fn capabilities(line: &str) -> Option<u64> {
    u64::from_str_radix(line.trim().strip_prefix("CapBnd:")?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_with_and_without_the_capabilities_are_told_apart() {
        let has = |line| capabilities(line).map(|set| set & NEEDED == NEEDED);
        assert_eq!(has("CapBnd:\t000001ffffffffff\n"), Some(true));
        assert_eq!(has("CapBnd:\t0000003fffffffff\n"), Some(false));
        assert_eq!(has("CapBnd:\t0000007fffffffff\n"), Some(false));
        assert_eq!(has("CapEff:\t000001ffffffffff\n"), None);
    }

    #[test]
    fn versions_begin_with_their_number() {
        assert_eq!(major("20.10.24+dfsg1"), Some(20));
        assert_eq!(major("28.2.2"), Some(28));
        assert_eq!(major("dev"), None);
    }
}
