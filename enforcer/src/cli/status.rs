//! `enforcer status`: whether enforcement is proven, and everything that says so.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use super::StatusArguments;
use crate::{
    config::Config,
    control::{self, Status},
    datapath::Pins,
};

/// Nobody answers.
const SILENCE: u8 = 2;

pub(super) fn run(arguments: &StatusArguments) -> Result<ExitCode> {
    let (state, bpffs) = match &arguments.config {
        Some(file) => {
            let config = Config::load(file)?;
            (config.state, config.bpffs)
        }
        None => (arguments.state.clone(), PathBuf::from("/sys/fs/bpf")),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = match runtime.block_on(control::ask(&state)) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            // Who is not root sees none.
            let left = Pins::links_below(&bpffs).unwrap_or_default();
            if left > 0 {
                eprintln!(
                    "{left} links of an earlier enforcer are pinned below {}: what it left in force stays so, and \
                     nobody follows what changes",
                    bpffs.display()
                );
            }
            return Ok(SILENCE.into());
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
        super::Output::Text => print!("{status}"),
        super::Output::Json => println!("{}", serde_json::to_string_pretty(status)?),
    }
    Ok(())
}
