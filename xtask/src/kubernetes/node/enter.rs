//! Runs commands of the machine's users on the node.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns};

use super::{init::path, place::ON_NODE, place::Place};
use crate::kubernetes::running::Running;

/// The node's namespaces; that of mounts comes last, as the others are found by the machine's `/proc`.
const NAMESPACES: [(&str, CloneFlags); 6] = [
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("net", CloneFlags::CLONE_NEWNET),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Makes the processes that this one starts from here on processes of the node.
pub(super) fn enter(place: &Place) -> Result<()> {
    let init = Running::noted(&place.init())
        .with_context(|| format!("no node is up in {}", place.dir().display()))?;
    let here = env::current_dir().context("finding the current folder")?;
    let open = |(name, kind)| {
        let path = format!("/proc/{}/ns/{name}", init.pid);
        let file = File::open(&path).with_context(|| format!("opening {path}"))?;
        anyhow::Ok((file, kind))
    };
    let namespaces = NAMESPACES.map(open);
    // From outside, where every way of mounting cgroup v2 lets root do so.
    let cgroup = place.own_cgroup();
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))?;
    for namespace in namespaces {
        let (file, kind) = namespace?;
        setns(file, kind).context("entering the node")?;
    }
    env::set_current_dir(&here).with_context(|| format!("{} is not there on the node", here.display()))
}

/// Runs a command on the node, which ends with this process.
pub(super) fn run(place: &Place, program: &OsStr, arguments: &[OsString]) -> Result<ExitCode> {
    enter(place)?;
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(arguments)
        .env("PATH", path())
        .env("KUBECONFIG", format!("{ON_NODE}/certificates/admin.kubeconfig"))
        .status()
        .context("starting setpriv")?;
    // As shells tell it.
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}
