//! `kubectl enforcer suggest`: what workloads of all nodes were seen to reach, put together, and what allows it beside the
//! objects that the API server has.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use enforcer_core::observed::Observation;

use super::{Asked, complain, read, words};
use crate::{
    cli::{
        out,
        suggest::{self, Chosen},
    },
    config::Config,
    nodes::Ran,
    sources::{
        files::{Content, FileChange},
        kube::collections,
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Suggest {
    /// The enforcers' configuration, where it says more than `pods: {}`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    chosen: Chosen,
}

/// How the objects of the API server are called in messages.
const API_SERVER: &str = "API server";

pub(super) async fn run(arguments: &Suggest, asked: &Asked) -> Result<ExitCode> {
    let config = match &arguments.config {
        Some(file) => Config::load(file)?,
        None => Config::parse("pods: {}\nworkloads: []", API_SERVER.as_ref())?,
    };
    let options = arguments.chosen.options(asked.namespace.as_deref())?;
    let command = words(["suggest", "--observations"]);
    let answers = asked.ask(&command, asked.patience).await;
    let (nodes, failed) = read(answers, observations);
    let mut objects = String::new();
    for paths in collections() {
        let listed = asked.cluster.list(&paths).await;
        for object in listed.with_context(|| format!("listing {}", paths.join(", ")))? {
            objects += &format!("---\n{object}\n");
        }
    }
    let given = FileChange {
        path: API_SERVER.into(),
        content: Content::Text(objects),
    };
    let observations: Vec<_> = nodes.into_iter().flat_map(|(_, of_node)| of_node).collect();
    let output = arguments.chosen.output;
    // The objects are compiled many times over; that is no work for a thread that serves connections.
    let written = move || suggest::write(&config, vec![given], (&observations, options, output));
    tokio::task::spawn_blocking(written).await??;
    Ok(if complain(&failed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn observations(ran: &Ran) -> Result<Vec<Observation>> {
    anyhow::ensure!(ran.code == 0, "exit code {}", ran.code);
    for warning in ran.complaint.lines() {
        out::complain(warning);
    }
    let text = str::from_utf8(&ran.output)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}
