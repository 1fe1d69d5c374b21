//! `enforcer check`: validates Istio YAML offline.

use std::{
    fmt::Display,
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use enforcer_core::{
    documents::{Judgement, Record, check, judge_together},
    settings::Settings,
};

use super::{
    Check, Output, cron,
    out::{self, Form},
};
use crate::{
    config::{Config, ConfigErrors, ErrorKind},
    daemon::settings::of_registry,
    kept::unwritable,
    sources::files::{Content, FileChange, SIZE_LIMIT, read_all},
};

/// What the exit code says, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Valid = 0,
    Invalid = 1,
    Unreadable = 2,
}

pub(super) fn run(arguments: &Check) -> Result<ExitCode> {
    let mut worst = Outcome::Valid;
    let mut settings = Settings::default();
    let mut workloads = Vec::new();
    if let Some(file) = &arguments.config {
        let config = Config::load(file);
        if let Ok(config) = &config {
            settings = of_registry(config, &[]);
            workloads.extend(config.workloads.iter().map(|entry| entry.workload.clone()));
        }
        worst = write(&[of_configuration(file, config)], arguments.output)?;
    }
    let mut records = Vec::new();
    for path in &arguments.paths {
        worst = worst.max(check_path(path, &mut records));
    }
    judge_together(&mut records, settings, workloads);
    worst = worst.max(write(&records, arguments.output)?);
    Ok(ExitCode::from(worst as u8))
}

/// How a configuration is, and what of this machine lets its users leave what is enforced.
fn of_configuration(file: &Path, config: Result<Config, ConfigErrors>) -> Record {
    let record = |verdict, errors, warnings| Record {
        file: file.display().to_string(),
        line: 1,
        kind: "Configuration".to_owned(),
        namespace: String::new(),
        name: String::new(),
        verdict,
        errors,
        warnings,
        related: Vec::new(),
        object: None,
    };
    let config = match config {
        Ok(config) => config,
        Err(errors) => {
            let is_unreadable = errors
                .iter()
                .any(|error| matches!(error.kind, ErrorKind::Unreadable(_)));
            let verdict = if is_unreadable {
                Judgement::NotYaml
            } else {
                Judgement::Invalid
            };
            return record(
                verdict,
                errors.to_string().lines().map(str::to_owned).collect(),
                Vec::new(),
            );
        }
    };
    let warnings = config.warnings.iter().map(|warning| format!("line {warning}"));
    record(
        Judgement::Valid,
        Vec::new(),
        warnings
            .chain(cron::of_users(&config))
            .chain(unkept(&config))
            .collect(),
    )
}

/// Whether what workloads are seen to reach could be kept on this machine.
fn unkept(config: &Config) -> Option<String> {
    let why = unwritable(config.observe.file.as_ref()?)?;
    Some(format!(
        "observe.file: {why}: what workloads are seen to reach would end with the process"
    ))
}

/// Adds what a path holds to `records`. What cannot be read is told.
fn check_path(path: &Path, records: &mut Vec<Record>) -> Outcome {
    if path == Path::new("-") {
        return match io::read_to_string(io::stdin().lock().take(SIZE_LIMIT)) {
            Ok(text) => {
                records.extend(check("-", &text));
                Outcome::Valid
            }
            Err(error) => unreadable("-", &error),
        };
    }
    if let Err(error) = std::fs::metadata(path) {
        return unreadable(path.display(), &error);
    }
    let mut worst = Outcome::Valid;
    for FileChange { path, content } in read_all(path) {
        let name = path.display().to_string();
        match content {
            Content::Text(text) => records.extend(check(&name, &text)),
            Content::Gone => {}
            Content::Unreadable(reason) => worst = unreadable(name, &reason),
        }
    }
    worst
}

fn unreadable(path: impl Display, why: &dyn Display) -> Outcome {
    out::complain(format_args!("error: {path}: {why}"));
    Outcome::Unreadable
}

fn write(records: &[Record], output: Output) -> Result<Outcome> {
    let mut worst = Outcome::Valid;
    for record in records {
        worst = worst.max(match record.verdict {
            Judgement::Valid => Outcome::Valid,
            Judgement::Invalid => Outcome::Invalid,
            Judgement::NotYaml => Outcome::Unreadable,
        });
        match output {
            Output::Json => out::json(record, Form::Line)?,
            Output::Text => write_text(record)?,
        }
    }
    Ok(worst)
}

fn write_text(record: &Record) -> Result<()> {
    let Record {
        file,
        line,
        kind,
        namespace,
        name,
        verdict,
        errors,
        warnings,
        related: _,
        object: _,
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
    out::line(format_args!("{file}:{line}: {}: {verdict}", object.join(" ")))?;
    for error in errors {
        out::line(format_args!("  error: {error}"))?;
    }
    for warning in warnings {
        out::line(format_args!("  warning: {warning}"))?;
    }
    Ok(())
}
