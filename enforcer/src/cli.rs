//! The command line. Scripts rely on its commands, options, output and exit codes.

mod boot;
mod bundle;
mod check;
mod cron;
mod detach;
mod exec;
mod explain;
mod files;
mod generate;
mod in_force;
mod install_boot;
mod monitor;
mod mount_bpffs;
mod names;
mod out;
mod plugin;
mod reload;
mod sandbox;
mod status;
mod suggest;
mod top;
mod ui;
mod wait;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use explain::Explain;

use crate::{
    config::{Config, WorkloadConfig},
    daemon::{self, Start},
    heap, privileges, proof,
    report::log::{self, LogFormat},
};

/// Enforces Istio's outboundTrafficPolicy REGISTRY_ONLY outside the pod.
#[derive(Debug, Parser)]
#[command(name = "enforcer", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enforce, in the foreground, until SIGTERM; enforcement stays in force afterwards; exit code 78: the configuration is
    /// wrong
    Run(Run),
    /// Validate Istio YAML and configurations; exit code 0: all valid, 1: some invalid, 2: unreadable or not YAML
    Check(Check),
    /// Say whether a workload may reach destinations, and which object decides; exit code 0: all were evaluated, 2: what was
    /// typed or read is wrong; with --exit-verdict, 1: one is refused
    Explain(Explain),
    /// Say whether enforcement is proven, and what says so; exit code 0: it is, 1: it is not, 2: nobody answers, who asks
    /// is not root, or something is wrong with what is given
    Status(StatusArguments),
    /// Have the running enforcer take up a changed configuration; exit code 0: it is in force, 1: nothing was changed
    Reload(Reload),
    /// Show which addresses stand for which hosts, and how that is known: declared, resolved, or learned from the answers
    /// that workloads received; exit code 2: something is wrong with what is given, or nobody answers
    Names(NamesArguments),
    /// Show verdicts as they are made: what is refused call by call, what is allowed counted several times a second; exit
    /// code 1: the enforcer has ended, 2: something is wrong with what is given, nobody answers, or 16 others watch already
    Monitor(monitor::Monitor),
    /// Wait until an object is in force on this node: read in its present version, valid, resolved, in the kernel's maps and
    /// proven; exit code 0: it is, 1: it is not, with the reason, 2: what was typed is wrong
    Wait(wait::Wait),
    /// Write the ServiceEntries that allow what workloads were seen to reach, and nothing else; exit code 0: also where there
    /// is nothing to suggest, 2: something is wrong with what is given, or nobody answers
    Suggest(suggest::Suggest),
    /// Show the busiest and most refused destinations, live, with what would allow them; exit code 2: something is wrong with
    /// what is given, or nobody answers
    Top(top::Top),
    /// Show in a browser what workloads reach and are refused, and how the node stands; prints the address, and serves
    /// until SIGINT or SIGTERM
    Ui(UiArguments),
    /// Write one archive with everything that helps to find out why the enforcer does what it does: status,
    /// configuration, registry, maps, names, kernel, log, without secrets; exit code 0: also where something is missing,
    /// which missing.txt in it names
    Bundle(bundle::Bundle),
    /// Run a command inside a workload's cgroup; exit code: the command's, 125: not started, as it would not be enforced,
    /// 126: it cannot be started, 127: there is no such command
    Exec(Exec),
    /// Run a command in this process's place; started by `exec`
    #[command(hide = true)]
    Execute(Execute),
    /// Contain one command, with no daemon: it reaches what --registry and --allow name, and nothing else; exit code: the
    /// command's, 125: not started, 126: it cannot be started, 127: there is no such command
    Sandbox(sandbox::Arguments),
    /// A part of a sandbox; started by `sandbox`
    #[command(hide = true)]
    Sandboxed(sandbox::Part),
    /// Remove every program, link, map, pin and state file of an enforcer that has ended; exit code 1: nothing was found,
    /// or programs still run
    Detach(Detach),
    /// Enforce what was known last, until the enforcer's pod takes over; what enforcer-boot.service does
    #[command(hide = true)]
    Boot(Boot),
    /// Put this binary and enforcer-boot.service on the machine, or remove them
    #[command(hide = true)]
    InstallBoot(InstallBoot),
    /// Mount the machine's bpffs where there is none; what an init container of the DaemonSet does
    #[command(hide = true)]
    MountBpffs(MountBpffs),
    /// Print the JSON schema of the configuration
    Schema,
    /// Write what systemd is told of the configuration into the first folder; systemd calls this as enforcer-generator
    #[command(hide = true)]
    Generate(Generate),
    /// Wait until enforcement is proven, and lift the gates; what enforcer-in-force.service does
    #[command(hide = true)]
    InForce(InForce),
    /// What tries connections for the self-proof; started by `run`
    #[command(hide = true)]
    Canary(Canary),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Pin nothing, and take everything away at the end
    #[arg(long)]
    ephemeral: bool,
    /// How the log, on standard error, is written; default: journal if that is the journal of systemd, else human
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as enforcer::names=debug
    #[arg(long, default_value = "info", value_name = "FILTER")]
    log_level: String,
    /// Have the programs in the kernel log each verdict (slow; shown at --log-level debug)
    #[arg(long)]
    debug_programs: bool,
    /// Keep in this folder, for root alone, what `enforcer boot` needs at the next boot
    #[arg(long, value_name = "FOLDER", conflicts_with = "ephemeral")]
    keep_for_boot: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Boot {
    /// The folder of `run --keep-for-boot`
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// How the log, on standard error, is written; default: journal if that is the journal of systemd, else human
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallBoot {
    /// The folder of the binary and of what is kept
    #[arg(long, value_name = "FOLDER")]
    programs: PathBuf,
    /// The folder of systemd's units
    #[arg(long, value_name = "FOLDER")]
    units: PathBuf,
    /// Remove all of it
    #[arg(long)]
    remove: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// How the result is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Also check a configuration of the enforcer, and whether its users may leave what is enforced by cron or at
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Files, folders of *.yaml, *.yml and *.json, or - for standard input
    #[arg(required_unless_present = "config", value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For a person
    #[default]
    Text,
    /// For a script
    Json,
}

/// A workload of the configuration.
#[derive(Debug)]
pub(crate) struct Chosen {
    config: PathBuf,
    namespace: String,
    /// None if the namespace has one.
    name: Option<String>,
}

impl Chosen {
    /// The configuration, and the workload in it.
    fn find(&self) -> Result<(Config, WorkloadConfig)> {
        let config = Config::load(&self.config)?;
        let entry = self.find_in(&config)?;
        Ok((config, entry))
    }

    fn find_in(&self, config: &Config) -> Result<WorkloadConfig> {
        let namespace = &self.namespace;
        let in_namespace = || {
            config
                .workloads
                .iter()
                .filter(|entry| entry.workload.namespace.as_str() == namespace)
        };
        let is_meant =
            |entry: &&WorkloadConfig| self.name.as_ref().is_none_or(|name| entry.workload.name == *name);
        let found: Vec<_> = in_namespace().filter(is_meant).collect();
        let names = || {
            in_namespace()
                .map(|entry| entry.workload.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        };
        Ok(match (found.as_slice(), &self.name) {
            ([entry], _) => (*entry).clone(),
            ([], _) if in_namespace().next().is_none() => {
                bail!("no workload is configured in namespace {namespace}")
            }
            ([], Some(name)) => bail!(
                "no workload {namespace}/{name} is configured; there are {}",
                names()
            ),
            _ => bail!(
                "namespace {namespace} has several workloads: choose one by --name: {}",
                names()
            ),
        })
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Print nothing; exit code 0 if an enforcer answers at all
    #[arg(long)]
    alive: bool,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct NamesArguments {
    /// How it is printed
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Only what this workload has learned
    #[arg(long, value_name = "NS/NAME")]
    workload: Option<String>,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UiArguments {
    /// Where the page is served; port 0: any that is free
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Also serve at an address that is not loopback; what is sent is not encrypted
    #[arg(long)]
    allow_remote: bool,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
}

/// As systemd calls a generator; see systemd.generator(7).
#[derive(Debug, clap::Args)]
pub(crate) struct Generate {
    /// Where units and drop-ins go
    #[arg(value_name = "NORMAL")]
    normal: PathBuf,
    /// Not used
    #[arg(value_name = "EARLY")]
    early: Option<PathBuf>,
    /// Not used
    #[arg(value_name = "LATE")]
    late: Option<PathBuf>,
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

/// Where the configuration is on a machine with systemd.
const CONFIG: &str = "/etc/enforcer/enforcer.yaml";

#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InForce {
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// Fail if a unit runs outside of its slice, where nothing enforces it until it is restarted
    #[arg(long)]
    placed: bool,
}

#[derive(Debug, clap::Args)]
struct Canary {
    /// Try in this cgroup, and end
    #[arg(long, value_name = "FOLDER")]
    join: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The workload's namespace
    #[arg(long, value_name = "NS", required_unless_present = "user")]
    namespace: Option<String>,
    /// The workload's name, if the namespace has several
    #[arg(long, value_name = "NAME", requires = "namespace")]
    name: Option<String>,
    /// Run the command as this user; without --namespace, in the workload that is this user's
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Start the command also where nothing is enforced
    #[arg(long)]
    allow_unenforced: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

/// What `exec` has systemd run in a scope.
#[derive(Debug, clap::Args)]
pub(crate) struct Execute {
    /// Run the command as this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<std::ffi::OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MountBpffs {
    /// Where
    #[arg(long, default_value = "/sys/fs/bpf", value_name = "FOLDER")]
    bpffs: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Detach {
    /// The configuration file, for its `bpffs` and `state`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bpffs", "state"])]
    config: Option<PathBuf>,
    /// Where bpffs is mounted
    #[arg(long, default_value = "/sys/fs/bpf", value_name = "FOLDER")]
    bpffs: PathBuf,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
    /// Succeed also where nothing is found
    #[arg(long)]
    allow_nothing: bool,
    /// Then wait for SIGTERM, whatever was found: for a DaemonSet, whose pods must not end
    #[arg(long)]
    hold: bool,
}

/// Runs the command; an error becomes one line and exit code 1 (2 for `check`). A command whose output nobody reads any
/// more ends as by SIGPIPE; `run` goes on.
pub fn main() -> ExitCode {
    let typed: Vec<_> = std::env::args_os().collect();
    let name = typed.first().and_then(|name| Path::new(name).file_name());
    if name == Some(plugin::NAME.as_ref()) {
        return plugin::main(typed);
    }
    let outcome = match arguments().command {
        Command::Run(arguments) => out::of_run(run(&arguments)),
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Status(arguments) => out::or_unanswered(status::run(&arguments)),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::Names(arguments) => out::or_unanswered(names::run(&arguments)),
        Command::Monitor(arguments) => out::or_unanswered(monitor::run(&arguments)),
        Command::Wait(arguments) => wait::run(&arguments),
        Command::Suggest(arguments) => suggest::run(&arguments),
        Command::Top(arguments) => out::or_unanswered(top::run(&arguments)),
        Command::Ui(arguments) => ui::run(&arguments),
        Command::Bundle(arguments) => bundle::run(&arguments),
        Command::Exec(arguments) => exec::run(&arguments),
        Command::Execute(arguments) => Ok(exec::execute(&arguments.command, arguments.user.as_deref())),
        Command::Sandbox(arguments) => sandbox::run(&arguments),
        Command::Sandboxed(arguments) => sandbox::part(&arguments),
        Command::Detach(arguments) => detach::run(&arguments),
        Command::Boot(arguments) => out::of_run(boot::run(&arguments)),
        Command::InstallBoot(arguments) => install_boot::run(&arguments),
        Command::MountBpffs(arguments) => mount_bpffs::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::InForce(arguments) => in_force::run(&arguments),
        Command::Canary(arguments) => {
            let outcome = arguments
                .join
                .map_or_else(proof::serve, |folder| proof::join(&folder));
            outcome.map(|()| ExitCode::SUCCESS)
        }
        Command::Schema => {
            out::json(crate::config::json_schema(), out::Form::Pretty).map(|()| ExitCode::SUCCESS)
        }
    };
    out::end(outcome)
}

/// What was typed. Called as systemd's generator, the command is `generate`.
fn arguments() -> Arguments {
    let mut typed: Vec<_> = std::env::args_os().collect();
    let name = typed
        .first()
        .map(|name| Path::new(name).file_name() == Some("enforcer-generator".as_ref()));
    if name == Some(true) {
        typed.insert(1, "generate".into());
    }
    Arguments::parse_from(typed)
}

fn run(arguments: &Run) -> Result<()> {
    let format = arguments.log_format.unwrap_or_else(LogFormat::of_reader);
    log::init(format, &arguments.log_level)?;
    heap::share_arena();
    let (mut config, text) = Config::load_with_text(&arguments.config)?;
    // Tables of cron are not readable later.
    for warning in cron::of_users(&config) {
        tracing::warn!("{warning}");
    }
    privileges::drop_unneeded(&mut config)?;
    let start = Start {
        config: (&arguments.config, &text),
        ephemeral: arguments.ephemeral,
        debug_programs: arguments.debug_programs,
        format,
        kept: arguments.keep_for_boot.as_deref(),
        boot: None,
    };
    enforce(config, start)
}

fn enforce(config: Config, start: Start<'_>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(daemon::run(config, start))
}
