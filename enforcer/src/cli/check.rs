//! `enforcer check`: validates Istio YAML offline.

use std::{
    io::{self, Read as _, Write as _},
    path::Path,
    process::ExitCode,
};

use enforcer_core::documents::{Judgement, Record, check};

use super::{Check, Output};
use crate::sources::files::{Content, FileChange, SIZE_LIMIT, read_all};

/// What the exit code says, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Valid = 0,
    Invalid = 1,
    Unreadable = 2,
}

pub(super) fn run(arguments: &Check) -> ExitCode {
    let mut worst = Outcome::Valid;
    for path in &arguments.paths {
        match check_path(path, arguments.output) {
            Ok(outcome) => worst = worst.max(outcome),
            // Whoever read the output has seen enough of it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => {
                eprintln!("error: {}: {error}", path.display());
                worst = Outcome::Unreadable;
            }
        }
    }
    ExitCode::from(worst as u8)
}

fn check_path(path: &Path, output: Output) -> io::Result<Outcome> {
    if path == Path::new("-") {
        let text = io::read_to_string(io::stdin().lock().take(SIZE_LIMIT))?;
        return write(&check("-", &text), output);
    }
    std::fs::metadata(path)?;
    let mut worst = Outcome::Valid;
    for FileChange { path, content } in read_all(path) {
        let name = path.display().to_string();
        let outcome = match content {
            Content::Text(text) => write(&check(&name, &text), output)?,
            Content::Gone => continue,
            Content::Unreadable(reason) => {
                eprintln!("error: {name}: {reason}");
                Outcome::Unreadable
            }
        };
        worst = worst.max(outcome);
    }
    Ok(worst)
}

fn write(records: &[Record], output: Output) -> io::Result<Outcome> {
    let mut out = io::stdout().lock();
    let mut worst = Outcome::Valid;
    for record in records {
        worst = worst.max(match record.verdict {
            Judgement::Valid => Outcome::Valid,
            Judgement::Invalid => Outcome::Invalid,
            Judgement::NotYaml => Outcome::Unreadable,
        });
        match output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(record)?)?,
            Output::Text => write_text(&mut out, record)?,
        }
    }
    Ok(worst)
}

fn write_text(out: &mut impl io::Write, record: &Record) -> io::Result<()> {
    let Record {
        file,
        line,
        kind,
        namespace,
        name,
        verdict,
        errors,
        warnings,
    } = record;
    let verdict = if *verdict == Judgement::Valid {
        "valid"
    } else {
        "invalid"
    };
    let object: Vec<_> = [kind.as_str(), namespace, name]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    writeln!(out, "{file}:{line}: {}: {verdict}", object.join(" "))?;
    for error in errors {
        writeln!(out, "  error: {error}")?;
    }
    for warning in warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    Ok(())
}
