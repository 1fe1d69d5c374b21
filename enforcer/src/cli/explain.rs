//! `enforcer explain`: the verdict on destinations and what led to it, from the registry's files or the running enforcer.
//!
//! ```text
//! Explain (typed) -> Asked (meant) -> offline: registry -> who -> resolve -.
//!                                 \-> live: the daemon's answers --------+-> Explained -> show
//! ```
//!
//! Exit codes: 0 if everything was evaluated, 2 if something that was typed or read is wrong, which is told first.

mod arguments;
mod asked;
mod live;
mod offline;
mod registry;
mod resolve;
mod show;
mod who;

use std::process::ExitCode;

use anyhow::Result;

pub(super) use arguments::Explain;
use asked::{Asked, Source};

use super::out;
use crate::control::{Explained, Judged};

pub(super) fn run(typed: &Explain) -> Result<ExitCode> {
    let asked = match Asked::read(typed) {
        Ok(asked) => asked,
        Err(problems) => {
            for problem in problems {
                out::complain(format_args!("error: {problem}"));
            }
            return Ok(out::UNANSWERED.into());
        }
    };
    out::or_unanswered(answer(typed, &asked))
}

fn answer(typed: &Explain, asked: &Asked) -> Result<ExitCode> {
    let explained: Vec<Explained> = match &asked.source {
        Source::Live { config, state } => live::explain(asked, (config.as_deref(), state))?,
        Source::Config(_) | Source::Registry(_) => offline::explain(asked)?,
    };
    show::show(typed, asked, &explained)?;
    let is_refused = |one: &Explained| one.record.verdict != Judged::Allow;
    Ok(if typed.exit_verdict && explained.iter().any(is_refused) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
