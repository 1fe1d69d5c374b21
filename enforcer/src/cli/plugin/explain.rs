//! `kubectl enforcer explain`: what the kernels of a workload's nodes decide, once where all say the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Asked, complain, listed, read, words};
use crate::{
    cli::{
        Output,
        out::{self, Form},
    },
    control::{Judged, Record},
    nodes::Ran,
};

#[derive(Debug, clap::Args)]
pub(super) struct Explain {
    /// The workload's name; default: the only one of the namespace on its node
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Over UDP, not TCP, where a destination does not say which
    #[arg(long)]
    udp: bool,
    /// How it is printed: as text, or one JSON record a destination, node and line
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Exit code 1 if a destination is refused, or would be without audit
    #[arg(long)]
    exit_verdict: bool,
    /// HOST:PORT, IP:PORT or [IPv6]:PORT, each with /udp or /tcp after it if need be
    #[arg(required = true, value_name = "DESTINATION")]
    destinations: Vec<String>,
}

pub(super) async fn run(arguments: &Explain, asked: &Asked) -> Result<ExitCode> {
    let mut command = words([
        "explain",
        "--live",
        "-o",
        "json",
        "--namespace",
        asked.namespace(),
    ]);
    if let Some(workload) = &arguments.workload {
        command.extend(words(["--workload", workload]));
    }
    if arguments.udp {
        command.extend(words(["--udp"]));
    }
    command.extend(words(["--"]));
    command.extend(arguments.destinations.iter().cloned());
    let answers = asked.ask(&command, asked.patience).await;
    let (nodes, failed) = read(answers, records);
    // A node on which no such workload runs has nothing to say.
    let is_elsewhere = |(_, why): &(String, String)| why.starts_with("error: no workload");
    let (elsewhere, failed): (Vec<_>, Vec<_>) = failed.into_iter().partition(is_elsewhere);
    let of = |wanted: &str| -> Vec<(&str, &Record)> {
        let records = nodes.iter().filter_map(|(node, records)| {
            let record = records.iter().find(|record| record.destination == wanted);
            record.map(|record| (node.as_str(), record))
        });
        records.collect()
    };
    for destination in &arguments.destinations {
        let found = of(destination);
        match arguments.output {
            Output::Json => {
                for (node, record) in found {
                    let mut record = json!(record);
                    record["node"] = json!(node);
                    out::json(record, Form::Line)?;
                }
            }
            Output::Text => say(destination, &found)?,
        }
    }
    let is_any = !nodes.is_empty();
    if !is_any && let Some((_, why)) = elsewhere.first() {
        out::complain(why);
    }
    let mut verdicts = nodes
        .iter()
        .flat_map(|(_, records)| records)
        .map(|record| record.verdict);
    Ok(match (complain(&failed) && is_any, arguments.exit_verdict) {
        (false, _) => out::UNANSWERED.into(),
        (true, true) if verdicts.any(|verdict| verdict != Judged::Allow) => ExitCode::FAILURE,
        (true, _) => ExitCode::SUCCESS,
    })
}

fn records(ran: &Ran) -> Result<Vec<Record>> {
    let text = str::from_utf8(&ran.output)?;
    let records: Vec<Record> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let first = records.first().map(|_| ());
    first.context("there is no record").map(|()| records)
}

/// What is said of a destination, with the nodes if they differ.
fn say(destination: &str, found: &[(&str, &Record)]) -> Result<()> {
    let mut alike: BTreeMap<[String; 2], BTreeSet<&str>> = BTreeMap::new();
    for (node, record) in found {
        let verdict = match record.verdict {
            Judged::Allow => "allowed",
            Judged::Audit => "let through by audit",
            Judged::Deny => "denied",
        };
        let said = format!("{destination}: {verdict}: {}", record.reason);
        let suggestion = record.suggestion.clone().unwrap_or_default();
        alike.entry([said, suggestion]).or_default().insert(node);
    }
    let differ = alike.len() > 1;
    for ([said, suggestion], nodes) in alike {
        if differ {
            out::line(format_args!("on {}: {said}", listed(&nodes)))?;
        } else {
            out::line(said)?;
        }
        if !suggestion.is_empty() {
            out::line(format_args!("  to allow it: {suggestion}"))?;
        }
    }
    Ok(())
}
