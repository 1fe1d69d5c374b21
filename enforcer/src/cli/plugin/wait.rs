//! `kubectl enforcer wait`: returns once the version that the API server has is in force on every node.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_core::{istio::ObjectId, model::Namespace};
use serde_json::json;

use super::{Asked, listed, read, words};
use crate::{
    cli::{
        Output,
        out::{self, Form},
        wait::duration,
    },
    control::{Awaited, Standing, kind},
    nodes::Ran,
};

/// How often it is looked whether an object is gone from the API server.
const LOOK: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// What is waited for: ServiceEntry, WorkloadEntry, Sidecar or Service
    #[arg(long = "for", value_name = "KIND")]
    kind: String,
    /// Wait until it is gone, and nothing is allowed by it any more
    #[arg(long)]
    delete: bool,
    /// How long, such as 30s or 2m
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// How the result is printed: as text, or one JSON record an object and line
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Which; without a namespace, in that of --namespace
    #[arg(required = true, value_name = "[NAMESPACE/]NAME")]
    objects: Vec<String>,
}

impl Wait {
    /// Whether it can be meant.
    pub(super) fn check(&self) -> Result<()> {
        self.ids("default").map(drop)
    }

    fn ids(&self, namespace: &str) -> Result<Vec<ObjectId>> {
        let kind = kind(&self.kind).with_context(|| {
            let kind = &self.kind;
            format!("--for {kind}: it can be ServiceEntry, WorkloadEntry, Sidecar or Service")
        })?;
        let ids = self.objects.iter().map(|object| {
            let (namespace, name) = object.split_once('/').unwrap_or((namespace, object));
            let is_name = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
            ensure!(is_name, "{object}: write it as NAMESPACE/NAME");
            Ok(ObjectId {
                kind,
                namespace: Namespace::new(namespace),
                name: name.to_owned(),
            })
        });
        ids.collect()
    }
}

pub(super) async fn run(arguments: &Wait, asked: &Asked) -> Result<ExitCode> {
    let until = Instant::now() + arguments.timeout;
    let mut is_all = true;
    for id in arguments.ids(asked.namespace())? {
        is_all &= wait(arguments, asked, (&id, until)).await?;
    }
    Ok(if is_all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whether it is in force, or gone, everywhere.
async fn wait(arguments: &Wait, asked: &Asked, (id, until): (&ObjectId, Instant)) -> Result<bool> {
    let version = match version(arguments, asked, (id, until)).await? {
        Ok(version) => version,
        Err(why) => {
            match arguments.output {
                Output::Text => out::complain(format_args!("error: {why}")),
                Output::Json => out::json(json!({ "object": id.to_string(), "error": why }), Form::Line)?,
            }
            return Ok(false);
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    let seconds = format!("{}s", left.as_secs().max(1));
    let kind = format!("{:?}", id.kind);
    let mut command = words(["wait", "--for", &kind, "--timeout", &seconds, "-o", "json"]);
    match version {
        Some(version) => command.extend(words(["--version", &version.to_string()])),
        None => command.extend(words(["--delete"])),
    }
    command.extend(words(["--", &format!("{}/{}", id.namespace, id.name)]));
    let answers = asked.ask(&command, left + asked.patience).await;
    let understand = |ran: &Ran| Ok(serde_json::from_slice::<Awaited>(&ran.output)?);
    let (nodes, failed) = read(answers, understand);
    let is_well = |standing| matches!(standing, Standing::InForce | Standing::Gone);
    let is_all = failed.is_empty() && nodes.iter().all(|(_, awaited)| is_well(awaited.standing));
    match arguments.output {
        Output::Json => {
            let answered = nodes.iter().map(|(node, awaited)| (node, json!(awaited)));
            let failed = failed.iter().map(|(node, why)| (node, json!({ "error": why })));
            let nodes: serde_json::Map<_, _> = answered
                .chain(failed)
                .map(|(node, value)| (node.clone(), value))
                .collect();
            let record = json!({
                "object": id.to_string(), "version": version, "everywhere": is_all, "nodes": nodes,
            });
            out::json(record, Form::Line)?;
        }
        Output::Text => say(&nodes, (&failed, is_all))?,
    }
    Ok(is_all)
}

/// The version that is to be waited for; None if the object is to be gone, and is. The inner error is what is said.
async fn version(
    arguments: &Wait,
    asked: &Asked,
    (id, until): (&ObjectId, Instant),
) -> Result<Result<Option<u64>, String>> {
    loop {
        let version = asked.cluster.version(id).await?;
        match (version, arguments.delete) {
            (Some(_), false) | (None, true) => return Ok(Ok(version)),
            (None, false) => return Ok(Err(format!("the API server has no {id}"))),
            (Some(_), true) if Instant::now() >= until => {
                return Ok(Err(format!("the API server still has {id}")));
            }
            (Some(_), true) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// A line for everything that nodes say alike.
fn say(nodes: &[(String, Awaited)], (failed, is_all): (&[(String, String)], bool)) -> Result<()> {
    let mut alike: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut warnings: BTreeSet<&str> = BTreeSet::new();
    for (node, awaited) in nodes {
        alike.entry(awaited.to_string()).or_default().insert(node);
        warnings.extend(awaited.warnings.iter().map(String::as_str));
    }
    for warning in warnings {
        out::complain(format_args!("warning: {warning}"));
    }
    for (said, on) in alike {
        if is_all {
            out::line(format_args!("{said} on {}", listed(&on)))?;
        } else {
            out::complain(format_args!("on {}: {said}", listed(&on)));
        }
    }
    super::complain(failed);
    Ok(())
}
