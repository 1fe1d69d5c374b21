//! What the commands write. Every line is escaped here, and a reader that is gone is no error.

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    config::ConfigErrors,
    report::{
        escape::{self, Line},
        journal,
    },
};

/// Nobody reads the output any more: `enforcer status | head`.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output")]
pub(super) struct ReaderGone;

/// Of a process that SIGPIPE has ended, as shells tell it.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;

/// How JSON is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One line.
    Line,
    /// Indented.
    Pretty,
}

/// Writes a line to standard output.
pub(super) fn line(text: impl Display) -> Result<()> {
    write(&format!("{}\n", Line(text)))
}

/// A colour of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Writes a line in a colour, if there is one.
pub(super) fn coloured(text: &str, colour: Option<Colour>) -> Result<()> {
    match colour {
        Some(colour) => write(&format!("\x1b[{}m{}\x1b[0m\n", colour as u8, Line(text))),
        None => line(text),
    }
}

/// Writes a text whose newlines are ours.
pub(super) fn lines(text: &str) -> Result<()> {
    text.lines().try_for_each(line)
}

/// Writes a value as JSON.
pub(super) fn json(value: impl Serialize, form: Form) -> Result<()> {
    let mut value = serde_json::to_value(value)?;
    escape::shorten(&mut value);
    let text = match form {
        Form::Line => serde_json::to_string(&value)?,
        Form::Pretty => serde_json::to_string_pretty(&value)?,
    };
    write(&format!("{}\n", escape::json(&text)))
}

/// Writes to standard output what is escaped.
fn write(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("writing to standard output"),
    }
}

/// Writes a line to standard error. Where nobody reads that, there is nobody to tell. The journal takes the prefix for an
/// error's priority (`sd-daemon(3)`).
pub(super) fn complain(text: impl Display) {
    let priority = if journal::is_ours() { "<3>" } else { "" };
    writeln!(io::stderr(), "{priority}{}", Line(text)).ok();
}

/// The configuration is wrong, so that a start would fail again: EX_CONFIG of sysexits.h.
const WRONG_CONFIGURATION: u8 = 78;

/// The outcome of `run`, whose callers start it again unless its configuration is wrong.
pub(super) fn of_run(outcome: Result<()>) -> Result<ExitCode> {
    match outcome {
        Err(error) if error.is::<ConfigErrors>() => {
            end(Err(error));
            Ok(WRONG_CONFIGURATION.into())
        }
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

/// What was typed or read is wrong, or no enforcer answers: the same of every command that asks one, so that a script can
/// tell it from an answer that is bad news.
pub(super) const UNANSWERED: u8 = 2;

/// The outcome of a command that answers a question: an error is none.
pub(super) fn or_unanswered(outcome: Result<ExitCode>) -> Result<ExitCode> {
    match outcome {
        Err(error) if !error.is::<ReaderGone>() => {
            end(Err(error));
            Ok(UNANSWERED.into())
        }
        outcome => outcome,
    }
}

/// The exit code; an error is told first.
pub(super) fn end(outcome: Result<ExitCode>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    if error.is::<ReaderGone>() {
        // Ends as every other program of a pipe does. It returns only if that cannot be done.
        signal_hook::low_level::emulate_default_handler(libc::SIGPIPE).ok();
        return ExitCode::from(ENDED_BY_SIGPIPE);
    }
    match error.downcast_ref::<ConfigErrors>() {
        // One line each.
        Some(mistakes) => format!("error: {mistakes}").lines().for_each(complain),
        None => complain(format_args!("error: {error:#}")),
    }
    ExitCode::FAILURE
}
