//! `enforcer suggest`: ServiceEntries that allow what was seen, and nothing else.
//!
//! `observations of the daemon or of a file, registry of files -> suggest -> YAML or JSON`

mod seen;
mod since;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::ValueEnum;
use enforcer_core::{
    model::{CgroupId, Namespace},
    observed::Observation,
    pods::Pods,
    registry::{Registry, Update},
    suggest::{Options, Sources, suggest},
};
use jiff::Timestamp;

use super::{
    CONFIG,
    files::{self, Files, Wanted},
    out::{self, Form},
};
use crate::{
    config::Config,
    control,
    daemon::{ingest, settings},
    names,
    sources::files::FileChange,
};

/// What `suggest` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Suggest {
    /// The configuration file, for its registry, its workloads and its `state`; default: /etc/enforcer/enforcer.yaml, if
    /// no registry is given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The registry: files, folders of *.yaml, *.yml and *.json, or - for standard input; beside a configuration, in
    /// addition to its own
    #[arg(long, value_name = "PATH", num_args = 1..)]
    registry: Vec<PathBuf>,
    /// The folder of the enforcer's state; default: that of the configuration, else /run/enforcer
    #[arg(long, value_name = "FOLDER", conflicts_with = "from")]
    state: Option<PathBuf>,
    /// Read observations, one JSON object a line, from a file or, with -, from standard input, and ask no enforcer
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only for workloads of this namespace
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Print what was seen, one JSON object a line, and suggest nothing; what `kubectl enforcer suggest` asks
    #[arg(long, hide = true, conflicts_with = "from")]
    observations: bool,
}

/// What it is made for, and how it is written.
#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    /// Only for this workload
    #[arg(long, value_name = "NAME|NS/NAME")]
    workload: Option<String>,
    /// Only for what was seen since then: 30m, 12h, 7d, or a time such as 2026-11-22T14:00:00Z
    #[arg(long, value_name = "AGE|TIME")]
    since: Option<String>,
    /// How it is written
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Written,
    /// Put three or more hosts below one domain together as a wildcard, and say what else it allows
    #[arg(long)]
    wildcards: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Written {
    /// Documents that are ready to apply, with comments
    #[default]
    Yaml,
    /// A List that is ready to apply, and beside its items what YAML says in comments
    Json,
}

/// Where the state is if nothing says so.
const STATE: &str = "/run/enforcer";

pub(super) fn run(arguments: &Suggest) -> Result<ExitCode> {
    out::or_unanswered(suggested(arguments).map(|()| ExitCode::SUCCESS))
}

fn suggested(arguments: &Suggest) -> Result<()> {
    if arguments.observations {
        return print_observed(arguments);
    }
    let options = arguments.chosen.options(arguments.namespace.as_deref())?;
    let config = config(arguments)?;
    let is_stdin = |path: &PathBuf| path == Path::new("-");
    if arguments.from.as_ref().is_some_and(is_stdin) && arguments.registry.iter().any(is_stdin) {
        bail!("--from - and --registry - both want standard input");
    }
    let files = files_of(&config, &arguments.registry)?;
    let observations = match &arguments.from {
        Some(file) => seen::read(file)?,
        None => observed(arguments.state.as_ref().unwrap_or(&config.state))?,
    };
    write(&config, files, (&observations, options, arguments.chosen.output))
}

/// What the running enforcer has seen.
fn observed(state: &Path) -> Result<Vec<Observation>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let observed = runtime.block_on(control::ask_observed(state))?;
    if observed.dropped > 0 {
        let dropped = observed.dropped;
        out::complain(format_args!(
            "warning: {dropped} calls went to more destinations than the enforcer keeps, and nothing is suggested \
             for them"
        ));
    }
    Ok(observed.observations)
}

fn print_observed(arguments: &Suggest) -> Result<()> {
    let state = match (&arguments.state, &arguments.config) {
        (Some(state), _) => state.clone(),
        (None, Some(file)) => Config::load(file)?.state,
        (None, None) => PathBuf::from(STATE),
    };
    let observations = observed(&state)?;
    observations
        .iter()
        .try_for_each(|seen| out::json(seen, Form::Line))
}

/// Writes what allows these observations beside the registry of these files.
pub(super) fn write(
    config: &Config,
    files: Vec<FileChange>,
    (observations, options, output): (&[Observation], Options, Written),
) -> Result<()> {
    let (registry, sources) = registry(config, files)?;
    let is_meant = |seen: &Observation| {
        let namespace = options.namespace.as_ref();
        namespace.is_none_or(|namespace| seen.namespace == namespace.as_str())
            && options
                .workload
                .as_ref()
                .is_none_or(|name| seen.workload == *name)
    };
    if !observations.iter().any(is_meant) {
        out::complain(
            "warning: no call of such a workload was seen: there is nothing to make suggestions of",
        );
    }
    let suggestions = suggest(registry, observations, (&options, sources));
    match output {
        Written::Yaml => out::lines(&suggestions.yaml()),
        Written::Json => out::json(suggestions.json(), Form::Pretty),
    }
}

impl Chosen {
    /// What is meant, within this namespace if there is one.
    pub(super) fn options(&self, namespace: Option<&str>) -> Result<Options> {
        let now = Timestamp::now();
        let since = self.since.as_deref().map(|text| since::time(text, now));
        let mut options = Options {
            namespace: namespace.map(Namespace::new),
            workload: self.workload.clone(),
            since: since.transpose()?,
            wildcards: self.wildcards,
        };
        if let Some((of_workload, name)) = self.workload.as_deref().and_then(|it| it.split_once('/')) {
            if namespace.is_some_and(|it| it != of_workload) {
                bail!("--namespace and --workload name two namespaces");
            }
            options.namespace = Some(Namespace::new(of_workload));
            options.workload = Some(name.to_owned());
        }
        Ok(options)
    }
}

/// The configuration, or what is meant where there is none.
fn config(arguments: &Suggest) -> Result<Config> {
    if let Some(file) = &arguments.config {
        return Ok(Config::load(file)?);
    }
    if arguments.registry.is_empty() {
        if Path::new(CONFIG).exists() {
            return Ok(Config::load(Path::new(CONFIG))?);
        }
        bail!("what is registered? --config FILE, or --registry PATH: a folder, which may be empty");
    }
    files::nothing_configured()
}

/// The files of the configuration, and those that were typed.
fn files_of(config: &Config, typed: &[PathBuf]) -> Result<Vec<FileChange>> {
    if config.kubernetes.is_some() && typed.is_empty() {
        out::complain(
            "warning: only the registry's files are read, not the API server: `kubectl get serviceentries,sidecars -A -o yaml`, \
             with --registry -, adds its objects",
        );
    }
    files::all(&config.registry, typed)
}

/// The registry with the workloads that are configured and the pods among its objects, and its ServiceEntries as they are
/// written.
fn registry(config: &Config, files: Vec<FileChange>) -> Result<(Registry, Sources)> {
    let servers = names::resolvers(&settings::of_names(config, None))?;
    let mut sources = Sources::default();
    let wanted = Wanted {
        config,
        servers: &servers,
        files,
        node: config.pods.as_ref().map(ingest::settings).map(Pods::new),
    };
    let Files {
        mut registry,
        node,
        pods,
        ..
    } = files::read(wanted, |text| sources.add(text));
    let first = config.workloads.len() as u64 + 1;
    let pods = node
        .iter()
        .flat_map(|node| pods.iter().map(|pod| node.workload(pod)));
    for (number, workload) in (first..).zip(pods) {
        registry.apply(Update::Workload(CgroupId(number), workload));
    }
    Ok((registry, sources))
}
