//! What the command was refused, for a person and for a program, with what would allow it.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use enforcer_core::{
    draft::Draft,
    observed::{Carrier, Observation, Seen},
    pattern,
};
use nix::{
    fcntl::OFlag,
    unistd::{Gid, Uid, getgroups, setfsgid, setfsuid, setgroups},
};
use serde::Serialize;

use super::{Allowed, Sandbox, caller::Identity, end::End, settings};
use crate::{
    config::Enforcement,
    control::{self, Observed, Status},
};

/// The report, as a program reads it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// The command and its arguments.
    command: Vec<String>,
    /// As a shell has it: 128 and the number of the signal that has ended it.
    exit: i32,
    /// That signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'static str>,
    /// How long it ran, in seconds.
    duration: f64,
    /// `enforce`, or `audit`, under which everything that is listed was let through.
    mode: &'static str,
    /// Where it wanted to go, most often first.
    refused: Vec<Refused>,
    /// Destinations that are not listed because there were too many.
    dropped: u64,
    /// Processes that it had left running, which were ended.
    left: usize,
    /// ServiceEntries that would allow what was refused.
    entries: String,
}

/// A destination that was refused.
#[derive(Clone, Debug, Serialize)]
struct Refused {
    /// As `--allow` takes it.
    destination: String,
    host: Option<String>,
    addresses: Vec<std::net::IpAddr>,
    port: u16,
    transport: Carrier,
    count: u64,
    reason: Option<String>,
    suggestion: String,
    #[serde(skip)]
    allowed: Allowed,
}

/// How often the enforcer is asked, until twice in a row it says the same: it may not have read the last event yet.
const ASKED: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the enforcer whose state is in this folder how it stands.
pub(super) fn status(state: &Path) -> Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(control::ask(state))
}

/// Asks the enforcer whose state is in this folder what it has seen.
pub(super) fn seen(state: &Path) -> Result<Observed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut seen = control::ask_observed(state).await?;
        for _ in 0..ASKED {
            tokio::time::sleep(PAUSE).await;
            let again = control::ask_observed(state).await?;
            let is_all = again == seen;
            seen = again;
            if is_all {
                break;
            }
        }
        Ok(seen)
    })
}

impl Report {
    /// Of a sandbox whose command has ended so, after this time, and has left so many processes.
    pub(super) fn new(
        sandbox: &Sandbox,
        (end, duration, left): (End, Duration, usize),
        seen: Observed,
    ) -> Self {
        let mut refused: Vec<_> = seen.observations.into_iter().filter_map(Refused::of).collect();
        refused.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        let entries = refused.iter().map(|refused| &refused.allowed);
        let entries = entries.map(|allowed| allowed.entry(&sandbox.namespace));
        // One object for each name.
        let entries: BTreeMap<_, _> = entries.map(|entry| (entry.name.clone(), entry)).collect();
        let entries = entries.values().map(Draft::text);
        Self {
            command: sandbox
                .command
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            exit: end.code(),
            signal: match end {
                End::Signal(signal) => Some(signal.as_str()),
                _ => None,
            },
            duration: (duration.as_secs_f64() * 1000.0).round() / 1000.0,
            mode: match sandbox.enforcement {
                Enforcement::Enforce => "enforce",
                Enforcement::Audit => "audit",
            },
            entries: entries.collect::<Vec<_>>().join("---\n"),
            refused,
            dropped: seen.dropped,
            left,
        }
    }

    /// For a person, a line each; nothing if there is nothing to say.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.left > 0 {
            lines.push(format!(
                "{} that the command had left running {} ended with it",
                counted(self.left, "process", "processes"),
                if self.left == 1 { "was" } else { "were" },
            ));
        }
        if self.refused.is_empty() {
            return lines;
        }
        let what = match (self.mode, self.refused.len()) {
            ("audit", _) => "would be refused without --audit",
            (_, 1) => "was refused",
            _ => "were refused",
        };
        let all = counted(self.refused.len(), "destination", "destinations");
        lines.push(format!("{all} {what}:"));
        for refused in self.refused.iter().take(SHOWN) {
            lines.push(format!("  {refused}"));
            lines.push(format!("    to allow it: {}", refused.suggestion));
        }
        let more = self.refused.len().saturating_sub(SHOWN) as u64 + self.dropped;
        if more > 0 {
            lines.push(format!("  and {more} more; --report FILE lists them"));
        }
        lines
    }
}

/// Destinations that a person is told of.
const SHOWN: usize = 20;

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Refused {
    fn of(seen: Observation) -> Option<Self> {
        // A resolver library sorts addresses by sockets that send nothing.
        if seen.verdict == Seen::Allow || seen.probe {
            return None;
        }
        let transport = seen.transport.into();
        // The command chooses the names that it asks for, such as one that reads as a wildcard.
        let host = seen.host.as_deref().and_then(pattern::host);
        let by_name = host.map(|host| Allowed::host(host, seen.port, transport));
        let by_name =
            by_name.filter(|allowed| allowed.to_string().parse::<Allowed>().as_ref() == Ok(allowed));
        let by_address = |address: &IpAddr| Allowed::address(*address, seen.port, transport);
        let allowed = by_name.or_else(|| seen.addresses.last().map(by_address))?;
        Some(Self {
            destination: allowed.to_string(),
            host: seen.host,
            addresses: seen.addresses,
            port: seen.port,
            transport: seen.transport,
            count: seen.count,
            reason: seen.reason,
            suggestion: format!("--allow {allowed}"),
            allowed,
        })
    }
}

/// `tcp db.example.com:5432 (192.0.2.10), 3 times: no object has it`
impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.transport)?;
        match (&self.host, self.addresses.last()) {
            (Some(host), Some(address)) => write!(f, "{host}:{} ({address})", self.port)?,
            (None, Some(address)) => write!(f, "{}", SocketAddr::new(*address, self.port))?,
            (host, None) => write!(f, "{}:{}", host.as_deref().unwrap_or_default(), self.port)?,
        }
        if self.count > 1 {
            write!(f, ", {} times", self.count)?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

/// Where the report is written. It is open before the command runs, which could otherwise put a link in its place.
pub(crate) enum Destination {
    Output,
    File(PathBuf, File),
}

impl Destination {
    /// Opens the file as the caller, with her rights.
    pub(super) fn open(sandbox: &Sandbox) -> Result<Option<Self>> {
        let Some(path) = &sandbox.report else {
            return Ok(None);
        };
        if settings::is_standard_output(path) {
            return Ok(Some(Self::Output));
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // A FIFO that nobody reads must not keep the command from being started.
        options.custom_flags(OFlag::O_NONBLOCK.bits());
        let opened = as_caller(&sandbox.identity, || options.open(path))?;
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ENXIO) => anyhow!("nobody reads it: start the reader of a FIFO first"),
            _ => error.into(),
        });
        let file = file.with_context(|| format!("--report {}", path.display()))?;
        Ok(Some(Self::File(path.clone(), file)))
    }

    /// Writes the text.
    ///
    /// # Errors
    /// If it cannot be written, or the file is gone.
    pub(crate) fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Output => io::stdout()
                .lock()
                .write_all(text.as_bytes())
                .context("writing the report"),
            Self::File(path, mut file) => {
                let written = write_patiently(&mut file, text.as_bytes());
                written.with_context(|| format!("writing the report to {}", path.display()))?;
                let links = file.metadata().map(|there| there.nlink());
                ensure!(
                    links.is_ok_and(|links| links > 0),
                    "the report is lost: {} was removed while the command ran",
                    path.display()
                );
                Ok(())
            }
        }
    }
}

/// Does something with the rights of the caller, all of her groups included.
fn as_caller<T>(identity: &Identity, act: impl FnOnce() -> T) -> Result<T> {
    let (uid, gid) = identity.numbers();
    let own = getgroups().context("reading the process's groups")?;
    let taken = identity.take_groups();
    let done = taken.map(|()| {
        setfsgid(Gid::from_raw(gid));
        setfsuid(Uid::from_raw(uid));
        let done = act();
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        done
    });
    setgroups(&own).context("taking the process's groups again")?;
    done
}

/// How long the reader of a FIFO may read nothing.
const READING: Duration = Duration::from_secs(5);

/// Writes all of it, to a file that does not wait.
fn write_patiently(file: &mut File, mut text: &[u8]) -> io::Result<()> {
    let mut last = Instant::now();
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                text = &text[written..];
                last = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && last.elapsed() < READING => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
