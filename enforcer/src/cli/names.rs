//! `enforcer names`: which addresses stand for which hosts, and how that is known.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    NamesArguments, Output,
    out::{self, Form},
};
use crate::{
    config::Config,
    control::{self, Asked},
};

pub(super) fn run(arguments: &NamesArguments) -> Result<ExitCode> {
    let state = match &arguments.config {
        Some(file) => Config::load(file)?.state,
        None => arguments.state.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let question = Asked::Names(arguments.workload.clone());
    let table = runtime.block_on(control::ask_names(&state, &question))?;
    match arguments.output {
        Output::Text => out::lines(&table.to_string())?,
        Output::Json => out::json(&table, Form::Pretty)?,
    }
    Ok(ExitCode::SUCCESS)
}
