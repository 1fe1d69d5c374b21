//! `enforcer exec`: a command inside a workload's cgroup.
//!
//! The command takes this process's place, so that its exit code and the signal that ends it are its own. What keeps it
//! from starting has the codes that `env` and `timeout` have.

use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{Exec, out};
use crate::datapath::{CgroupMount, is_enforced};

/// Nothing was started: it would not be enforced, or the workload's cgroup cannot be joined.
const REFUSED: u8 = 125;
/// The command is there and cannot be started.
const CANNOT_START: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// Replaces this process by the command, so that it returns only if that fails.
pub(super) fn run(arguments: &Exec) -> Result<ExitCode> {
    if let Err(error) = enter(arguments) {
        out::complain(format_args!("error: {error:#}"));
        return Ok(REFUSED.into());
    }
    let (program, parameters) = arguments.command.split_first().context("no command")?;
    let error = std::process::Command::new(program).args(parameters).exec();
    out::complain(format_args!(
        "error: {} cannot be started: {error}",
        program.display()
    ));
    Ok(match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND.into(),
        _ => CANNOT_START.into(),
    })
}

/// Puts this process into the workload's cgroup, once that is enforced.
fn enter(arguments: &Exec) -> Result<()> {
    let (config, entry) = arguments.workload.find()?;
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let cgroup = entry.cgroup.as_str();
    let folder = mount.folder(Path::new(cgroup));
    fs::create_dir_all(&folder).with_context(|| format!("creating the cgroup {}", folder.display()))?;
    if !arguments.allow_unenforced {
        let is_enforced = wait_for_enforcement(&folder).with_context(|| {
            format!("the command was not started, since it is not known whether {cgroup} is enforced")
        })?;
        if !is_enforced {
            bail!(
                "{cgroup} is not enforced, so the command was not started: start `enforcer run`, or use \
                 --allow-unenforced to run the command without enforcement until then"
            );
        }
    }
    fs::write(folder.join("cgroup.procs"), "0")
        .with_context(|| format!("joining the cgroup {}", folder.display()))
}

/// How long a running enforcer may take to find a cgroup that has just been made.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(5);

fn wait_for_enforcement(folder: &Path) -> Result<bool> {
    let start = Instant::now();
    loop {
        if is_enforced(folder)? {
            return Ok(true);
        }
        if start.elapsed() >= PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(GLANCE);
    }
}
