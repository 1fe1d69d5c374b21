//! `enforcer sandbox`: one command, contained; and the parts that it is made of.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use nix::sys::resource::{Resource, setrlimit};

use super::{Run, exec, out};
use crate::{
    config::Enforcement,
    report::{escape, log},
    sandbox::{self, Allowed, End, FAILED, Identity, Outcome, Place, Sandbox},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Files and folders of Istio YAML: what the command may reach
    #[arg(long, num_args = 1.., value_name = "PATH")]
    registry: Vec<PathBuf>,
    /// What it may reach besides: HOST, *.DOMAIN, IP, [IPv6] or a network, a colon and the port, and /udp behind it for UDP
    #[arg(long, num_args = 1.., value_name = "HOST:PORT")]
    allow: Vec<String>,
    /// Refuse nothing, and report what would be refused
    #[arg(long)]
    audit: bool,
    /// Write what was refused to this file, as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Run the command as this user; default: who has called sudo, else root
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The namespace whose view of the registry the command has
    #[arg(long, default_value = "sandbox", value_name = "NS")]
    namespace: String,
    /// Leave the command privileges and sockets by which it could leave the sandbox: sudo, Docker, systemd, root's
    /// capabilities
    #[arg(long)]
    privileged: bool,
    /// Log each refusal when it happens
    #[arg(long)]
    verbose: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// A part of a sandbox.
#[derive(Debug, clap::Args)]
pub(crate) struct Part {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, clap::Subcommand)]
enum Name {
    /// Takes everything away once its input ends
    Guard {
        #[arg(long)]
        place: PathBuf,
    },
    /// Enforces
    Enforcer {
        #[arg(long)]
        place: PathBuf,
        #[arg(long)]
        log_level: String,
    },
    /// Maps users to themselves in the user namespace of a process
    Mapping {
        #[arg(long)]
        of: u32,
    },
    /// Becomes the command
    Command {
        #[arg(long)]
        place: PathBuf,
        #[arg(long)]
        uid: u32,
        #[arg(long)]
        gid: u32,
        #[arg(long)]
        privileged: bool,
        #[arg(required = true, last = true)]
        command: Vec<OsString>,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    log::init(log::LogFormat::Human, "warn")?;
    match sandbox(arguments).and_then(|sandbox| sandbox::supervise(&sandbox)) {
        Ok(outcome) => Ok(end(outcome)),
        Err(error) => Ok(failed(&error)),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    out::complain(format_args!("error: {error:#}"));
    FAILED.into()
}

fn sandbox(arguments: &Arguments) -> Result<Sandbox> {
    let allowed = arguments.allow.iter().map(|text| text.parse::<Allowed>());
    let allowed: Result<_, String> = allowed.collect();
    let user = arguments.user.as_deref().map(exec::user).transpose()?;
    Ok(Sandbox {
        command: arguments.command.clone(),
        identity: sandbox::of_caller(user)?,
        registry: arguments.registry.clone(),
        allowed: allowed.map_err(anyhow::Error::msg)?,
        namespace: arguments.namespace.clone(),
        enforcement: if arguments.audit {
            Enforcement::Audit
        } else {
            Enforcement::Enforce
        },
        report: arguments.report.clone(),
        privileged: arguments.privileged,
        verbose: arguments.verbose,
    })
}

/// Says what there is to say, and ends as the command has.
fn end(outcome: Outcome) -> ExitCode {
    let Outcome {
        end,
        report,
        failures,
        destination,
    } = outcome;
    let told = report.lines().into_iter().chain(failures);
    told.for_each(|line| out::complain(format_args!("enforcer sandbox: {line}")));
    let written = destination.map_or(Ok(()), |destination| {
        let text = serde_json::to_string_pretty(&report)?;
        destination.write(&format!("{}\n", escape::json(&text)))
    });
    if let Err(error) = written {
        out::complain(format_args!("enforcer sandbox: {error:#}"));
    }
    if let End::Signal(signal) = end {
        // The command has left a core if one was wanted.
        setrlimit(Resource::RLIMIT_CORE, 0, 0).ok();
        signal_hook::low_level::emulate_default_handler(signal as i32).ok();
    }
    u8::try_from(end.code()).unwrap_or(u8::MAX).into()
}

pub(super) fn part(part: &Part) -> Result<ExitCode> {
    match &part.name {
        Name::Guard { place } => {
            sandbox::guard(&Place::read(place)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Name::Mapping { of } => {
            sandbox::map(*of)?;
            Ok(ExitCode::SUCCESS)
        }
        Name::Enforcer { place, log_level } => {
            let place = Place::read(place)?;
            sandbox::settle(&place)?;
            super::run(&Run {
                config: place.config(),
                ephemeral: false,
                log_format: Some(log::LogFormat::Human),
                log_level: log_level.clone(),
                debug_programs: false,
                keep_for_boot: None,
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Name::Command {
            place,
            uid,
            gid,
            privileged,
            command,
        } => {
            let identity = if *uid == 0 {
                Identity::Own
            } else {
                Identity::numbered(*uid, *gid)?
            };
            match sandbox::contain(&Place::read(place)?, &identity, *privileged, command) {
                Ok(error) => Ok(exec::not_started(
                    command.first().map_or_else(Default::default, OsString::as_os_str),
                    &error,
                )),
                Err(error) => Ok(failed(&error)),
            }
        }
    }
}
