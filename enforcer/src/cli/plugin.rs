//! `kubectl enforcer`: the enforcers of all nodes, asked over the API server with the user's own rights.
//!
//! ```text
//! typed -> Cluster, its Enforcers -> `enforcer COMMAND -o json` in each pod -> merged: status, wait, explain, …
//! ```
//!
//! The same program under the name `kubectl-enforcer`. A node that could not be asked is named, and makes the command fail.

mod bundle;
mod explain;
mod monitor;
mod status;
mod suggest;
mod wait;

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{Parser, Subcommand};

use super::out;
use crate::nodes::{Access, Answers, Cluster, Enforcers, Ran};

/// The name by which kubectl finds it.
pub(super) const NAME: &str = "kubectl-enforcer";

/// Ask the enforcers of all nodes of a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl enforcer", bin_name = "kubectl enforcer", version)]
pub(crate) struct Plugin {
    #[command(flatten)]
    to: To,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster.
#[derive(Debug, clap::Args)]
struct To {
    /// The kubeconfig; default: that of KUBECONFIG, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in it; default: its current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The namespace that is asked about; default: that of the context, or with monitor and suggest all
    #[arg(short, long, global = true, value_name = "NS")]
    namespace: Option<String>,
    /// The namespace in which the enforcers are
    #[arg(long, global = true, default_value = "enforcer-system", value_name = "NS")]
    enforcer_namespace: String,
    /// How many seconds a node may take to answer; in `wait` beside the time that is waited, in `bundle` as many minutes
    #[arg(long, global = true, default_value_t = 20, value_name = "N")]
    node_timeout: u64,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether enforcement is proven on each node; exit code 0: on all, 1: not on all, or some could not be asked
    Status(status::Status),
    /// Wait until an object, in the version that the API server has now, is in force on every node; exit code 0: it is,
    /// 1: it is not on all, with the reason, 2: what was typed is wrong
    Wait(wait::Wait),
    /// Say whether a workload may reach destinations, and which object decides, as the kernels of its nodes have it; exit
    /// code 0: all were evaluated, 2: some were not; with --exit-verdict, 1: one is refused
    Explain(explain::Explain),
    /// Show verdicts of all nodes as they are made
    Monitor(monitor::Monitor),
    /// Write the ServiceEntries that allow what workloads of all nodes were seen to reach, and nothing else
    Suggest(suggest::Suggest),
    /// Write one archive with the support bundle of each node
    Bundle(bundle::Bundle),
}

/// A cluster, and what is asked of it.
struct Asked {
    cluster: Cluster,
    enforcers: Enforcers,
    /// The namespace that was typed.
    namespace: Option<String>,
    patience: Duration,
}

/// Runs the plugin with what was typed, the name of the program first.
pub(super) fn main(typed: Vec<OsString>) -> ExitCode {
    let Plugin { to, command } = Plugin::parse_from(typed);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(to, command)));
    out::end(outcome)
}

async fn run(to: To, command: Command) -> Result<ExitCode> {
    if let Command::Wait(arguments) = &command
        && let Err(error) = arguments.check()
    {
        return out::or_unanswered(Err(error));
    }
    let access = Access {
        kubeconfig: to.kubeconfig,
        context: to.context,
    };
    let cluster = Cluster::open(&access, &to.enforcer_namespace).await?;
    let enforcers = cluster.enforcers().await?;
    if let Some(why) = &enforcers.unknown {
        out::complain(format_args!(
            "warning: nodes without an enforcer are not known: {why}"
        ));
    }
    let asked = Asked {
        cluster,
        enforcers,
        namespace: to.namespace,
        patience: Duration::from_secs(to.node_timeout),
    };
    match command {
        Command::Status(arguments) => status::run(&arguments, &asked).await,
        Command::Wait(arguments) => wait::run(&arguments, &asked).await,
        Command::Explain(arguments) => explain::run(&arguments, &asked).await,
        Command::Monitor(arguments) => monitor::run(&arguments, &asked).await,
        Command::Suggest(arguments) => suggest::run(&arguments, &asked).await,
        Command::Bundle(arguments) => bundle::run(&arguments, &asked).await,
    }
}

impl Asked {
    /// What came of a command on every node.
    async fn ask(&self, arguments: &[String], patience: Duration) -> Answers {
        self.cluster.ask(&self.enforcers, arguments, patience).await
    }

    /// The namespace that is asked about.
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(&self.cluster.namespace)
    }
}

/// What each node has said, and why others have said nothing.
type Said<T> = (Vec<(String, T)>, Vec<(String, String)>);

/// Says which nodes could not be asked; returns whether all could.
fn complain(failed: &[(String, String)]) -> bool {
    for (node, why) in failed {
        out::complain(format_args!("error: node {node} could not be asked: {why}"));
    }
    failed.is_empty()
}

/// Sorts what nodes have answered into what can be read and what cannot.
fn read<T>(answers: Answers, understand: impl Fn(&Ran) -> Result<T>) -> Said<T> {
    let (mut read, mut failed) = (Vec::new(), Vec::new());
    for (node, ran) in answers {
        let understood = ran.and_then(|ran| {
            understand(&ran).map_err(|error| match ran.output.is_empty() {
                true => ran.words(),
                false => format!("what it says is not understood: {error:#}"),
            })
        });
        match understood {
            Ok(value) => read.push((node, value)),
            Err(why) => failed.push((node, why)),
        }
    }
    (read, failed)
}

/// The words of a command line.
fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

/// `n1, n2 and n3`.
fn listed(nodes: &BTreeSet<&str>) -> String {
    let nodes: Vec<_> = nodes.iter().copied().collect();
    match nodes.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
