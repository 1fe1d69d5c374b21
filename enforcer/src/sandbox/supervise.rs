//! The supervisor: makes the sandbox, starts its parts, hands signals on to the command, and ends as the command does.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::fd::OwnedFd,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::{
        signal::{Signal, raise},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, geteuid},
};

use super::{
    PART, Place, Sandbox, clean,
    end::End,
    report::{self, Destination},
    settings,
    signals::{Event, Signals, forward},
};
use crate::{config::Enforcement, control::Observed, datapath::is_enforced};

/// How a contained command has ended, and what was seen of it.
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) report: report::Report,
    /// What was wrong besides: enforcement held all the time.
    pub(crate) failures: Vec<String>,
    /// Where the report is to be written.
    pub(crate) destination: Option<Destination>,
}

/// The parts of a sandbox that run beside the command.
struct Parts {
    place: Place,
    _lock: File,
    guard: Child,
    /// Its end is the guard's sign.
    sign: Option<ChildStdin>,
    enforcer: Child,
}

/// Runs the command, and takes everything away after it.
///
/// # Errors
/// If the command was not started.
pub(crate) fn supervise(sandbox: &Sandbox) -> Result<Outcome> {
    ensure!(
        geteuid().is_root(),
        "only root can contain a command: `sudo enforcer sandbox …`, which runs the command as you"
    );
    let registry = settings::registry(&sandbox.registry)?;
    let destination = Destination::open(sandbox)?;
    let (place, lock) = Place::make()?;
    let mut parts = Parts::start(sandbox, place, lock, &registry)?;
    let begun = parts.enforce(sandbox).and_then(|()| parts.run(sandbox));
    let (end, mut failures, duration) = match begun {
        Ok(ended) => ended,
        Err(error) => {
            parts.take_away().ok();
            return Err(error);
        }
    };
    let seen = report::seen(&parts.place.state());
    // What is pinned goes on to enforce. The enforcer would take the end of its canary for a failure.
    failures.extend(parts.end_enforcer().err().map(|error| format!("{error:#}")));
    let left = clean::end_all(&parts.place.below_mount(&parts.place.command()));
    let left = left.unwrap_or_else(|error| {
        failures.push(format!("{error:#}"));
        0
    });
    failures.extend(parts.take_away().err().map(|error| format!("{error:#}")));
    let seen = seen.unwrap_or_else(|error| {
        failures.push(format!("what was refused is not known: {error:#}"));
        Observed::default()
    });
    Ok(Outcome {
        report: report::Report::new(sandbox, (end, duration, left), seen),
        end,
        failures,
        destination,
    })
}

/// One of the parts, which begins with an empty environment: nothing there is meant for it.
fn part(name: &str, place: &Place) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args([PART, name]).arg("--place").arg(&place.folder);
    command.env_clear();
    command
}

impl Parts {
    /// Starts the guard and, behind it, the enforcer.
    fn start(sandbox: &Sandbox, place: Place, lock: File, registry: &[settings::Copy]) -> Result<Self> {
        let guard = part("guard", &place)
            .stdin(Stdio::piped())
            // The guard holds the lock for as long as it lives; it writes nothing.
            .stdout(OwnedFd::from(lock.try_clone().context("sharing the lock")?))
            .spawn()
            .context("starting the guard");
        let mut guard = guard.inspect_err(|_| drop(clean::take_away_and_leave(&place)))?;
        let sign = guard.stdin.take();
        let enforcer = settings::write(sandbox, &place, registry).and_then(|()| {
            part("enforcer", &place)
                .args(["--log-level", if sandbox.verbose { "warn" } else { "error" }])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .context("starting the enforcer")
        });
        match enforcer {
            Ok(enforcer) => Ok(Self {
                place,
                _lock: lock,
                guard,
                sign,
                enforcer,
            }),
            Err(error) => {
                drop(sign);
                guard.wait().ok();
                Err(error)
            }
        }
    }

    /// Waits until the enforcer says that it enforces, and looks whether it does.
    fn enforce(&mut self, sandbox: &Sandbox) -> Result<()> {
        let output = self.enforcer.stdout.take().context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .context("waiting for the enforcer")?;
        ensure!(
            !line.is_empty(),
            "the command was not started, since its enforcer has not started"
        );
        let cgroup = self.place.below_mount(&self.place.command());
        ensure!(
            is_enforced(&cgroup)?,
            "the command was not started, since {} is not enforced",
            cgroup.display()
        );
        let status = report::status(&self.place.state())?;
        ensure!(
            status.allow_any.is_empty() || sandbox.enforcement == Enforcement::Audit,
            "the command was not started, since a Sidecar or the mesh's configuration of --registry says ALLOW_ANY, by \
             which nothing is refused; leave it out, or say --audit"
        );
        Ok(())
    }

    /// Runs the command to its end.
    fn run(&mut self, sandbox: &Sandbox) -> Result<(End, Vec<String>, Duration)> {
        let signals = Signals::take()?;
        let began = Instant::now();
        let command = signals.outside(|| self.command(sandbox).spawn())?;
        let pid = Pid::from_raw(command.context("starting the command")?.id().cast_signed());
        let mut failures = Vec::new();
        loop {
            if let Some(end) = ended(pid)? {
                let end = if failures.is_empty() { end } else { End::Lost };
                return Ok((end, failures, began.elapsed()));
            }
            if failures.is_empty()
                && let Some(lost) = self.lost()?
            {
                failures.push(format!("{lost} has ended, and the command was killed"));
                clean::end_all(&self.place.below_mount(&self.place.command())).ok();
            }
            if let Event::Sent(signal) = signals.next()? {
                forward(signal, pid);
            }
        }
    }

    /// What becomes the command. It is in this process's group, so that a terminal treats both alike.
    fn command(&self, sandbox: &Sandbox) -> Command {
        let (uid, gid) = sandbox.identity.numbers();
        let mut command = Command::new("/proc/self/exe");
        command.args([PART, "command", "--place"]).arg(&self.place.folder);
        command.args(["--uid", &uid.to_string(), "--gid", &gid.to_string()]);
        if sandbox.privileged {
            command.arg("--privileged");
        }
        command.arg("--").args(&sandbox.command);
        sandbox.identity.tell(&mut command);
        command
    }

    /// The part without which the command cannot go on.
    fn lost(&mut self) -> Result<Option<&'static str>> {
        if self.guard.try_wait()?.is_some() {
            return Ok(Some("the sandbox's guard"));
        }
        Ok(self.enforcer.try_wait()?.map(|_| "the sandbox's enforcer"))
    }

    fn end_enforcer(&mut self) -> Result<()> {
        self.enforcer.kill().context("ending the enforcer")?;
        self.enforcer.wait().context("waiting for the enforcer")?;
        Ok(())
    }

    /// Ends everything and takes it away. The guard does that; what it leaves, or all of it if it was killed, is left to this
    /// process.
    fn take_away(&mut self) -> Result<()> {
        drop(self.sign.take());
        self.guard.wait().context("waiting for the guard")?;
        clean::take_away_and_leave(&self.place)?;
        self.enforcer.wait().context("waiting for the enforcer")?;
        Ok(())
    }
}

/// How the command has ended, if it has. If it was stopped, this process stops too, for who has started it to see, and the
/// command goes on with it.
fn ended(pid: Pid) -> Result<Option<End>> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    match waitpid(pid, Some(flags)).context("waiting for the command")? {
        WaitStatus::Exited(_, code) => Ok(Some(End::Code(code))),
        WaitStatus::Signaled(_, signal, _) => Ok(Some(End::Signal(signal))),
        WaitStatus::Stopped(..) => {
            raise(Signal::SIGSTOP).context("stopping")?;
            forward(Signal::SIGCONT, pid);
            Ok(None)
        }
        WaitStatus::StillAlive => Ok(None),
        other => bail!("the command is in no known state: {other:?}"),
    }
}
