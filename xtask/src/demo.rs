//! The main job, on the classic example of teaching ServiceEntries: a database for one namespace.
//!
//! ```text
//! demo (cgroups, private folder) -> unshare (network, mounts, processes of their own) -> stage -> script
//!                                                                                          `-> servers, enforcer
//! ```
//!
//! Everything but the cgroups and one folder lives in namespaces that end with their first process, so that whatever
//! ends this one, nothing stays behind: the kernel ends that process with it, and the next demo removes the cgroups
//! of one that was killed.

mod folder;
mod script;
mod servers;
mod stage;

use std::{
    process::{Command, ExitCode, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use folder::Scratch;

use crate::out::say;
use crate::{
    process::{as_root, cargo, run as run_visibly, target_folder},
    setup,
};

pub(crate) use stage::{Stage, run as run_stage};

/// Builds the enforcer and runs the demo.
pub(crate) fn run() -> Result<ExitCode> {
    setup::run(&setup::Arguments::default())?;
    run_visibly(cargo().args(["build", "--quiet", "--package", "enforcer"]))?;
    let enforcer = target_folder().join("debug/enforcer");
    let this = std::env::current_exe().context("finding this program's own path")?;
    if !nix::unistd::geteuid().is_root() {
        say!("demo: cgroups and BPF need root's rights, by sudo");
    }
    let status = as_root(this)
        .arg("demo-host")
        .arg(enforcer)
        .status()
        .context("starting the demo")?;
    Ok(exit_code(status))
}

/// Makes the cgroups and the folder, runs the stage in namespaces of its own, and takes everything away. As root.
pub(crate) fn run_host(enforcer: &std::path::Path) -> Result<ExitCode> {
    // Interrupted, this process goes on to clean up; the stage is told by the same key stroke, or ends with unshare.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("catching signals")?;
    }
    let scratch = Scratch::new()?;
    let this = std::env::current_exe().context("finding this program's own path")?;
    let mut unshare = Command::new("setpriv");
    unshare
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(this)
        .arg("demo-stage")
        .arg(enforcer)
        .arg(scratch.folder())
        .arg(scratch.cgroup_path())
        .arg(scratch.mount());
    let mut child = unshare
        .spawn()
        .context("starting setpriv and unshare of util-linux")?;
    let status = loop {
        if interrupted.load(Ordering::Relaxed) {
            child.kill().context("ending the demo")?;
        }
        match child.try_wait().context("waiting for the demo")? {
            Some(status) => break status,
            None => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    };
    scratch.remove()?;
    if interrupted.load(Ordering::Relaxed) {
        bail!("interrupted; everything that the demo made is removed");
    }
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
