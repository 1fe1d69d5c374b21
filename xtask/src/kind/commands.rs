//! Commands that Ctrl-C ends with all that they have started, so that what was made can be taken away.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::{interrupt, out::say, process::line};

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs a command after showing it, in a process group of its own.
///
/// # Errors
/// If it cannot be started, or a signal has come.
pub(super) fn run(command: &mut Command) -> Result<ExitStatus> {
    say!("$ {}", line(command));
    let mut child = command
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a process")? {
            return Ok(status);
        }
        if interrupt::has_come() {
            let group = Pid::from_raw(i32::try_from(child.id()).context("a process id is an int")?);
            killpg(group, Signal::SIGKILL).context("ending a process")?;
            child.wait().context("waiting for a process")?;
            bail!("interrupted");
        }
        thread::sleep(PAUSE);
    }
}
