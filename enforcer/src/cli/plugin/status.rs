//! `kubectl enforcer status`: a line for each node, and below it what is not well there.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Map, json};

use super::{Asked, complain, read, words};
use crate::{
    cli::{
        Output,
        out::{self, Form},
    },
    control,
};

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) async fn run(arguments: &Status, asked: &Asked) -> Result<ExitCode> {
    let answers = asked.ask(&words(["status", "-o", "json"]), asked.patience).await;
    let understand = |ran: &crate::nodes::Ran| Ok(serde_json::from_slice::<control::Status>(&ran.output)?);
    let (nodes, failed) = read(answers, understand);
    match arguments.output {
        Output::Text => {
            let text = table(&nodes);
            out::lines(&text)?;
            complain(&failed);
        }
        Output::Json => {
            let well = nodes.iter().map(|(node, status)| (node.clone(), json!(status)));
            let failed = failed
                .iter()
                .map(|(node, why)| (node.clone(), json!({ "error": why })));
            let all: Map<_, _> = well.chain(failed).collect();
            out::json(json!({ "nodes": all }), Form::Pretty)?;
        }
    }
    let is_well = failed.is_empty() && nodes.iter().all(|(_, status)| status.proven);
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn table(nodes: &[(String, control::Status)]) -> String {
    let width = nodes
        .iter()
        .map(|(node, _)| node.len())
        .chain([4])
        .max()
        .unwrap_or_default();
    let mut text = format!("{:width$}  ENFORCEMENT  MODE     PROVEN  PODS  VERSION\n", "NODE");
    for (node, status) in nodes {
        let verdict = if status.proven { "proven" } else { "NOT PROVEN" };
        let age = status.proof_age_seconds.map(|age| format!("{age:.0} s"));
        let pods = status.sources.iter().find(|source| source.name == "pods");
        text += &format!(
            "{node:width$}  {verdict:11}  {:7}  {:>6}  {:>4}  {}\n",
            status.mode,
            age.as_deref().unwrap_or("never"),
            pods.map_or_else(|| "-".to_owned(), |pods| pods.objects.to_string()),
            status.version,
        );
        for problem in &status.problems {
            // A name in it must not begin a line.
            text += &format!("  ! {}\n", crate::report::escape::Line(problem));
        }
    }
    text
}
