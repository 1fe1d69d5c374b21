//! The node's first process: it makes the namespaces, and collects the processes that have lost their parents, such as
//! those that containerd leaves beside each pod.

use std::{ffi::OsString, fs};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use super::{Up, place::ON_NODE, place::Place, supervisor::close_stdout};

/// Where programs are on the node: those that were built come first.
pub(super) fn path() -> OsString {
    let mut path = OsString::from(format!("{ON_NODE}/programs/bin:"));
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path.push(":/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// Runs until what starts the others has ended.
pub(super) fn run(asked: &Up) -> Result<()> {
    let place = Place::find(&asked.dir)?;
    let join = |folder: &std::path::Path| {
        fs::write(folder.join("cgroup.procs"), "0").with_context(|| format!("joining {}", folder.display()))
    };
    // The root of the namespace is the cgroup that this process is in. Others are to have room beside it.
    join(place.cgroup())?;
    unshare(CloneFlags::CLONE_NEWCGROUP).context("making a namespace of cgroups")?;
    join(&place.own_cgroup())?;
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(all).context("making namespaces")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("keeping mounts to itself")?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("mounting /proc")?;
    let boot = asked
        .stage("boot", &place)?
        .env("PATH", path())
        .spawn()
        .context("starting the boot process")?;
    close_stdout()?;
    collect(Pid::from_raw(i32::try_from(boot.id())?))
}

/// Waits for every process, until this one has ended.
fn collect(last: Pid) -> Result<()> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, 0)) if pid == last => return Ok(()),
            Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) if pid == last => {
                bail!("the boot process has ended: {status:?}");
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for processes"),
        }
    }
}
