//! `enforcer bundle`: everything for whoever is asked for help, in one archive.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Result;
use nix::unistd::geteuid;

use super::out::{self, ReaderGone};
use crate::bundle::{self, Request};

/// See `docs/bundle.md`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    /// The archive, a folder for it, or - for standard output
    #[arg(short, long, default_value = ".", value_name = "FILE")]
    output: PathBuf,
    /// Replace names, hosts and addresses, each by the same placeholder in all files
    #[arg(long)]
    redact: bool,
    /// The configuration file; default: the one that the running enforcer has, else /etc/enforcer/enforcer.yaml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state, without --config
    #[arg(
        long,
        default_value = "/run/enforcer",
        value_name = "FOLDER",
        conflicts_with = "config"
    )]
    state: PathBuf,
}

pub(super) fn run(arguments: &Bundle) -> Result<ExitCode> {
    if !geteuid().is_root() {
        out::complain("warning: most of it is for root alone: try `sudo enforcer bundle`");
    }
    let request = Request {
        config: arguments.config.clone(),
        state: arguments.state.clone(),
        redact: arguments.redact,
    };
    let files = bundle::gather(&request)?;
    let name = bundle::file_name(arguments.redact);
    let written = bundle::write(&files, &arguments.output, &name).map_err(|error| {
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match error.downcast_ref().is_some_and(is_gone) {
            true => ReaderGone.into(),
            false => error,
        }
    })?;
    for line in files.missing() {
        out::complain(format_args!("missing: {line}"));
    }
    if let Some(file) = written {
        out::line(file.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
