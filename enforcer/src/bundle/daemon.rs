//! What the running enforcer tells.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::Files;
use crate::control::{self, Asked, Inside, Listing, Status, WatchLine};

/// How many of the last calls are asked for.
const CALLS: usize = 2000;

/// Adds all that it tells; None if it does not answer.
pub(super) async fn add(state: &Path, files: &mut Files) -> Option<Status> {
    let status = match control::ask(state).await {
        Ok(status) => status,
        Err(error) => {
            files.miss(
                "status.json, status.txt",
                format_args!("no enforcer answers: {error:#}"),
            );
            return None;
        }
    };
    files.text("status.txt", status.to_string());
    let rejected = status.rejected.iter().cloned();
    let of_sources = status.sources.iter().filter_map(|source| {
        let problem = source.problem.as_ref()?;
        Some(format!("{}: {problem}", source.name))
    });
    files.text("registry/rejected.txt", lines(rejected.chain(of_sources)));
    files.json("status.json", value(&status));
    match control::ask_inside(state).await {
        Ok(inside) => add_inside(inside, files),
        Err(error) => files.miss("registry, maps, log", format_args!("{error:#}")),
    }
    match control::ask_names(state, &Asked::Names(None)).await {
        Ok(table) => {
            let mut listing: Listing = table.names.iter().map(value).collect();
            listing.left_out += usize::try_from(table.left_out).unwrap_or(usize::MAX);
            files.listing("names.jsonl", listing);
        }
        Err(error) => files.miss("names.jsonl", format_args!("{error:#}")),
    }
    match control::ask_metrics(state).await {
        Ok(text) => files.text("metrics.txt", text),
        Err(error) => files.miss("metrics.txt", format_args!("{error:#}")),
    }
    add_calls(state, files).await;
    Some(status)
}

fn add_inside(inside: Inside, files: &mut Files) {
    files.listing("registry/objects.jsonl", inside.objects);
    files.listing("registry/warnings.jsonl", inside.warnings);
    files.listing("workloads.jsonl", inside.workloads);
    files.json("maps/summary.json", inside.summary);
    files.listing("maps/policies.jsonl", inside.maps);
    files.listing("maps/pending.jsonl", inside.pending);
    files.listing("log.jsonl", inside.log);
}

async fn add_calls(state: &Path, files: &mut Files) {
    match control::ask_observed(state).await {
        Ok(observed) => {
            let mut listing: Listing = observed.observations.iter().map(value).collect();
            if observed.dropped > 0 {
                listing.lines.push(json!({ "dropped": observed.dropped }));
            }
            files.listing("observations.jsonl", listing);
        }
        Err(error) => files.miss("observations.jsonl", format_args!("{error:#}")),
    }
    match calls(state) {
        Ok(calls) => files.listing("calls.jsonl", calls),
        Err(error) => files.miss("calls.jsonl", format_args!("{error:#}")),
    }
}

/// What was told last of calls.
fn calls(state: &Path) -> Result<Listing> {
    let mut told = Listing::default();
    for line in control::watch(state, CALLS, false)? {
        if let WatchLine::Call(call) = line? {
            told.push(|| value(&*call));
        }
    }
    Ok(told)
}

/// Our own types become JSON.
fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// A line each.
pub(super) fn lines(of: impl Iterator<Item = String>) -> String {
    of.map(|line| line + "\n").collect()
}
