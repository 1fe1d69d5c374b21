//! Processes that were told to end and still hold what they had: a lock, a socket, links. The kernel takes these away a
//! moment after `kill -9` has returned, so that who starts at once waits for it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(10);

/// `PF_EXITING` of `linux/sched.h`.
const EXITING: u64 = 4;

/// Bit of SIGKILL in the sets of signals that `/proc` shows.
const KILL: u64 = 1 << (libc::SIGKILL - 1);

/// The process that holds something, once it is none that is ending; None if nobody holds it.
///
/// # Errors
/// Those of `holder`.
pub(crate) fn wait(holder: impl Fn() -> Result<Option<u32>>) -> Result<Option<u32>> {
    let start = Instant::now();
    loop {
        match holder()? {
            Some(pid) if is_ending(pid) && start.elapsed() < PATIENCE => thread::sleep(GLANCE),
            held => return Ok(held),
        }
    }
}

/// Whether a process has ended, or has been killed and is about to. One that cannot be looked at is not.
pub(crate) fn is_ending(pid: u32) -> bool {
    let (Ok(stat), Ok(status)) = (
        fs::read_to_string(format!("/proc/{pid}/stat")),
        fs::read_to_string(format!("/proc/{pid}/status")),
    ) else {
        return !fs::exists(format!("/proc/{pid}")).unwrap_or(true);
    };
    // The name before it may hold anything, and ends with the last parenthesis.
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split(' ')
        .collect();
    let is_gone = matches!(fields.get(1), Some(&"Z" | &"X"));
    let flags = fields.get(7).and_then(|flags| flags.parse::<u64>().ok());
    let is_killed = status.lines().any(|line| {
        let signals = line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:"));
        let signals = signals.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
        signals.is_some_and(|signals| signals & KILL != 0)
    });
    is_gone || is_killed || flags.is_some_and(|flags| flags & EXITING != 0)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn process_is_ending_from_the_moment_it_is_killed() {
        assert!(!is_ending(std::process::id()));
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(!is_ending(child.id()));
        child.kill().unwrap();
        // Until somebody waits for it, it is there, and every look finds it so.
        for _ in 0..100 {
            assert!(is_ending(child.id()));
        }
        child.wait().unwrap();
        assert!(is_ending(child.id()));
    }

    #[test]
    fn who_waits_is_told_of_a_holder_that_lives_at_once() {
        let own = std::process::id();
        assert_eq!(wait(|| Ok(Some(own))).unwrap(), Some(own));
        assert_eq!(wait(|| Ok(None)).unwrap(), None);
    }
}
