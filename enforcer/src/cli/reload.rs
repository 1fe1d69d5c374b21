//! `enforcer reload`: has the running enforcer take up a changed configuration, and says whether it has.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Reload, out};
use crate::{
    config::Config,
    control::{self, Status},
};

/// How long the enforcer may take to read files and resolve hosts.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked.
const GLANCE: Duration = Duration::from_millis(50);

pub(super) fn run(arguments: &Reload) -> Result<ExitCode> {
    let file = &arguments.config;
    // Mistakes are told here, too, each with its line, and nobody is disturbed.
    let config = Config::load(file)?;
    for warning in &config.warnings {
        out::complain(format_args!("warning: {}:{warning}", file.display()));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ask = || runtime.block_on(control::ask(&config.state));
    let before = ask()?;
    let pid = i32::try_from(before.pid).context("the enforcer has no pid")?;
    kill(Pid::from_raw(pid), Signal::SIGHUP).context("telling the enforcer")?;
    let end = Instant::now() + PATIENCE;
    loop {
        // It may be busy with the very change.
        if let Ok(status) = ask()
            && status.configuration.attempts > before.configuration.attempts
        {
            return outcome(&status);
        }
        if Instant::now() >= end {
            bail!(
                "the enforcer (pid {pid}) has not taken up the configuration within {PATIENCE:?}; its log says why"
            );
        }
        std::thread::sleep(GLANCE);
    }
}

fn outcome(status: &Status) -> Result<ExitCode> {
    let Some(refused) = &status.configuration.refused else {
        out::line("the configuration is in force")?;
        return Ok(ExitCode::SUCCESS);
    };
    out::complain(format_args!("error: nothing was changed: {refused}"));
    Ok(ExitCode::FAILURE)
}
