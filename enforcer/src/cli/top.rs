//! `enforcer top`: the terminal, the enforcer and the clock of what `top` shows.

mod terminal;

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::Timestamp;

use super::out;
use crate::{
    config::Config,
    control,
    top::{self, Column, Moment, State},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// What the table is sorted by at first
    #[arg(long, value_enum, default_value_t)]
    sort: Column,
    /// Print the table once, as text, as also happens where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// The most lines that are printed; on a terminal, all are shown
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
}

/// How often the enforcer is asked: it counts as often.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &Top) -> Result<ExitCode> {
    let folder = match &arguments.config {
        Some(file) => Config::load(file)?.state,
        None => arguments.state.clone(),
    };
    // Decoding many observations must not hold up keys.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut state = State::new(arguments.sort, has_colour, Timestamp::now());
    // Where nothing answers at first, the command has been given the wrong folder, or too few rights.
    runtime.block_on(ask(&folder, &mut state))?;
    if arguments.once || !io::stdout().is_terminal() {
        runtime.block_on(tokio::time::sleep(INTERVAL));
        runtime.block_on(ask(&folder, &mut state))?;
        out::lines(&top::text(&state, arguments.limit))?;
        return Ok(ExitCode::SUCCESS);
    }
    let code = runtime.block_on(terminal::show(folder, state));
    // The thread that reads the terminal's keys waits for one that nobody presses.
    runtime.shutdown_background();
    code
}

async fn ask(folder: &Path, state: &mut State) -> Result<()> {
    let answer = control::ask_observed(folder).await?;
    state.update(answer, now());
    Ok(())
}

fn now() -> Moment {
    Moment {
        instant: Instant::now(),
        time: Timestamp::now(),
    }
}
