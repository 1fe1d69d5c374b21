//! `kubectl enforcer monitor`: the verdicts of all nodes, in the order in which they arrive.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::Value;

use super::{Asked, complain, words};
use crate::{
    cli::{Output, monitor::Printer, out},
    nodes::Told,
};

#[derive(Debug, clap::Args)]
pub(super) struct Monitor {
    /// How it is printed: a line for each call, or a JSON object, with the node
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Only this workload
    #[arg(long, value_name = "NAME|NS/NAME")]
    workload: Option<String>,
    /// Only these verdicts: allow, unregistered, audit, deny
    #[arg(long, value_delimiter = ',', value_name = "VERDICT")]
    verdict: Vec<String>,
    /// Only this host, wildcard or address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Show the last calls of each node, and end
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Go on with what happens from now on; without --last, the default
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(arguments: &Monitor, asked: &Asked) -> Result<ExitCode> {
    let Monitor {
        workload,
        verdict,
        host,
        port,
        last,
        ..
    } = arguments;
    let mut command = words(["monitor", "-o", "json"]);
    let verdicts = (!verdict.is_empty()).then(|| verdict.join(","));
    for (option, value) in [
        ("--namespace", asked.namespace.clone()),
        ("--workload", workload.clone()),
        ("--verdict", verdicts),
        ("--host", host.clone()),
        ("--port", port.map(|port| port.to_string())),
        ("--last", last.map(|last| last.to_string())),
    ] {
        command.extend(value.map(|value| format!("{option}={value}")));
    }
    if arguments.follow {
        command.extend(words(["--follow"]));
    }
    let absent: Vec<_> = asked.enforcers.absent.clone().into_iter().collect();
    let mut is_all = complain(&absent);
    let mut told = asked.cluster.follow(&asked.enforcers, &command);
    let printer = Printer::new(arguments.output);
    let follows = arguments.follow || last.is_none();
    while let Some((node, told)) = told.recv().await {
        match told {
            Told::Line(line) => match serde_json::from_str::<Value>(&line) {
                Ok(line) => printer.of_node(&node, line)?,
                Err(_) => out::complain(format_args!("node {node}: {line}")),
            },
            Told::Ended(Ok(ran)) if ran.code == 0 && !follows => {}
            Told::Ended(ended) => {
                is_all = false;
                let why = ended.map_or_else(|why| why, |ran| ran.words());
                out::complain(format_args!("error: node {node} tells no more: {why}"));
            }
        }
    }
    Ok(if is_all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
