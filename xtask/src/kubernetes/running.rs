//! Processes that go on after the command that has started them: noted in files, and ended by pid.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

/// How long a process may take to end after it was told to, and after that.
const PATIENCE: Duration = Duration::from_secs(3);
const MORE_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether a process has ended that is not a child.
const GLANCE: Duration = Duration::from_millis(10);

/// A process, told from a later one with the same pid by when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) pid: Pid,
    /// In ticks since the machine was booted.
    started: u64,
}

impl Running {
    /// None if it has ended.
    pub(super) fn find(pid: Pid) -> Option<Self> {
        let started = started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        Some(Self { pid, started })
    }

    /// The process that was noted, if it is still running.
    pub(super) fn noted(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let noted = Self {
            pid: Pid::from_raw(pid.parse().ok()?),
            started: started.parse().ok()?,
        };
        (Self::find(noted.pid) == Some(noted)).then_some(noted)
    }

    /// Notes a process that has just been started.
    pub(super) fn note(file: &Path, pid: u32) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        let running = Self::find(pid).context("it has ended at once")?;
        let text = format!("{pid} {}\n", running.started);
        fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// Ends it at once, and waits until it has ended.
    pub(super) fn kill(self) -> Result<()> {
        tell(|signal| kill(self.pid, signal), Signal::SIGKILL)?;
        ensure!(
            self.ends_within(MORE_PATIENCE),
            "process {} does not end",
            self.pid
        );
        Ok(())
    }

    /// Waits until it has ended by itself; what does not is ended.
    pub(super) fn end(self) -> Result<()> {
        if self.ends_within(PATIENCE) {
            return Ok(());
        }
        self.kill()
    }

    /// Ends it with the process group that it leads: at first it is asked.
    pub(super) fn end_group(self) -> Result<()> {
        tell(|signal| killpg(self.pid, signal), Signal::SIGTERM)?;
        let has_ended = self.ends_within(PATIENCE);
        // Others of the group may be slower.
        tell(|signal| killpg(self.pid, signal), Signal::SIGKILL)?;
        ensure!(
            has_ended || self.ends_within(MORE_PATIENCE),
            "process {} does not end",
            self.pid
        );
        Ok(())
    }

    fn ends_within(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Self::find(self.pid) == Some(self) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(GLANCE);
        }
        true
    }
}

/// Sends a signal; that there is nobody left to get it is no mistake.
fn tell(send: impl Fn(Signal) -> nix::Result<()>, signal: Signal) -> Result<()> {
    match send(signal) {
        Err(error) if error != Errno::ESRCH => Err(error).context("ending a process"),
        _ => Ok(()),
    }
}

/// When it was started, from a line of `/proc/PID/stat`; None for a process that has ended and is not collected.
fn started(stat: &str) -> Option<u64> {
    // The name before may hold anything, spaces and parentheses too.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = fields.split(' ').collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// The end of a log, for the one who has to find out why.
pub(super) fn last_lines(log: &Path) -> String {
    const LINES: usize = 8;
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return "it has no log".to_owned(),
        Err(error) => return format!("{}: {error}", log.display()),
    };
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt as _, process::Command};

    use super::*;

    #[test]
    fn time_of_start_is_read_behind_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        assert_eq!(started(&format!("7 (sh) {rest}")), Some(4242));
        assert_eq!(started(&format!("7 (a) b (c) {rest}")), Some(4242));
        assert_eq!(started(&format!("7 (sh) {}", rest.replacen('S', "Z", 1))), None);
        assert_eq!(started(""), None);
    }

    #[test]
    fn noted_process_is_found_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        assert_eq!(Running::noted(&file), None);
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        Running::note(&file, child.id()).unwrap();
        let noted = Running::noted(&file).expect("it runs");
        let ending = thread::spawn(move || noted.end_group());
        child.wait().unwrap();
        ending.join().unwrap().unwrap();
        assert_eq!(Running::noted(&file), None);
    }

    #[test]
    fn later_process_with_the_same_pid_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        Running::note(&file, std::process::id()).unwrap();
        assert!(Running::noted(&file).is_some());
        fs::write(&file, format!("{} 1\n", std::process::id())).unwrap();
        assert_eq!(Running::noted(&file), None);
    }
}
