//! `enforcer exec`: a command inside a workload's cgroup.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Exec, out};
use crate::datapath::{CgroupMount, is_enforced};

/// Replaces this process by the command, so that it returns only if that fails.
pub(super) fn run(arguments: &Exec) -> Result<ExitCode> {
    let (config, entry) = arguments.workload.find()?;
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let folder = mount.folder(Path::new(entry.cgroup.as_str()));
    let is_new = !folder.exists();
    fs::create_dir_all(&folder).with_context(|| format!("creating the cgroup {}", folder.display()))?;
    if !wait_for_enforcement(&folder, if is_new { PATIENCE } else { Duration::ZERO })? {
        out::complain(format_args!(
            "warning: nothing is enforced at {} yet: is `enforcer run` up?",
            entry.cgroup.as_str()
        ));
    }
    fs::write(folder.join("cgroup.procs"), "0")
        .with_context(|| format!("joining the cgroup {}", folder.display()))?;
    let (program, parameters) = arguments.command.split_first().context("no command")?;
    let error = std::process::Command::new(program).args(parameters).exec();
    Err(error).with_context(|| format!("starting {}", program.display()))
}

/// How long a running enforcer may take to find a cgroup that has just been made.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(5);

fn wait_for_enforcement(folder: &Path, patience: Duration) -> Result<bool> {
    let start = Instant::now();
    loop {
        if is_enforced(folder)? {
            return Ok(true);
        }
        if start.elapsed() >= patience {
            return Ok(false);
        }
        std::thread::sleep(GLANCE);
    }
}
