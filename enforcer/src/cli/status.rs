//! `enforcer status`: whether enforcement is proven, and everything that says so.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use nix::unistd::geteuid;

use super::{
    StatusArguments,
    out::{self, Form, UNANSWERED},
};
use crate::{
    config::{Config, salvage_state},
    control::{self, Status},
    datapath::Pins,
};

pub(super) fn run(arguments: &StatusArguments) -> Result<ExitCode> {
    let (state, bpffs) = match &arguments.config {
        Some(file) => match Config::load(file) {
            Ok(config) => (config.state, config.bpffs),
            // The enforcer that runs may have been started with another.
            Err(errors) => {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                let Some(state) = salvage_state(&text) else {
                    return Err(errors.into());
                };
                for error in errors.to_string().lines() {
                    out::complain(format_args!("warning: {error}"));
                }
                (state, PathBuf::from("/sys/fs/bpf"))
            }
        },
        None => (arguments.state.clone(), PathBuf::from("/sys/fs/bpf")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = match runtime.block_on(control::ask(&state)) {
        Ok(status) => status,
        Err(error) => {
            if !geteuid().is_root() {
                out::complain(format_args!(
                    "error: the status is for root alone: try `sudo enforcer status`"
                ));
                return Ok(UNANSWERED.into());
            }
            out::complain(format_args!("error: {error:#}"));
            let left = Pins::links_below(&bpffs).unwrap_or_default();
            if left > 0 {
                out::complain(format_args!(
                    "{left} links of an earlier enforcer are pinned below {}: enforcement stays as it was, and \
                     changes of the registry are not applied",
                    bpffs.display()
                ));
            }
            return Ok(UNANSWERED.into());
        }
    };
    if !arguments.alive {
        print(&status, arguments.output)?;
    }
    let is_well = status.proven || arguments.alive;
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(status: &Status, output: super::Output) -> Result<()> {
    match output {
        // Each of its lines is one, whatever it tells of.
        super::Output::Text => out::lines(&status.to_string()),
        super::Output::Json => out::json(status, Form::Pretty),
    }
}
