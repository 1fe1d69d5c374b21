//! Signals of the supervisor, which it takes one by one, and what it does with them.

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

/// Those that a person or a program sends to a command.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
];

/// The signals of this process, which has one thread. What stops it (SIGTSTP) is left as it is: a terminal stops the
/// command too, which is in the same process group.
pub(super) struct Signals {
    taken: SigSet,
    /// What was blocked before, as it is for the command.
    former: SigSet,
    queue: SignalFd,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A process that this one has started has changed.
    Child,
    /// Somebody has sent this signal to this process alone.
    Sent(Signal),
    /// The kernel has sent it, as at Ctrl-C, to the command too.
    Shared,
}

impl Signals {
    /// Takes them from now on.
    pub(super) fn take() -> Result<Self> {
        let mut taken = forwarded();
        taken.add(Signal::SIGCHLD);
        let former = SigSet::thread_get_mask().context("reading what signals are blocked")?;
        taken.thread_block().context("blocking signals")?;
        let queue = SignalFd::with_flags(&taken, SfdFlags::SFD_CLOEXEC).context("listening for signals")?;
        Ok(Self { taken, former, queue })
    }

    /// Does what starts a process, which inherits what is blocked. What happens to it meanwhile is not told.
    pub(super) fn outside<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.former.thread_set_mask().context("letting signals through")?;
        let done = work();
        self.taken.thread_block().context("blocking signals")?;
        Ok(done)
    }

    /// Waits for the next.
    pub(super) fn next(&self) -> Result<Event> {
        loop {
            let info = match self.queue.read_signal() {
                Err(Errno::EINTR) | Ok(None) => continue,
                read => read.context("waiting for signals")?,
            };
            let Some(info) = info else { continue };
            let signal = i32::try_from(info.ssi_signo).context("the number of a signal")?;
            let signal = Signal::try_from(signal).context("the number of a signal")?;
            return Ok(match signal {
                Signal::SIGCHLD => Event::Child,
                // Below and at zero: `kill`, `sigqueue` and others that processes call.
                signal if info.ssi_code <= 0 => Event::Sent(signal),
                _ => Event::Shared,
            });
        }
    }
}

/// Those that a person or a program sends.
pub(super) fn forwarded() -> SigSet {
    FORWARDED.into_iter().collect()
}

/// Sends it on. One that has ended needs none.
pub(super) fn forward(signal: Signal, to: Pid) {
    kill(to, signal).ok();
}
