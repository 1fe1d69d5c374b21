//! What an application asks without pause while something changes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::pod::{Answer, ask_tcp};

/// First argument.
pub const ARGUMENT: &str = "mesh-load";

/// How many ask at the same time.
const CALLERS: usize = 4;

/// How long each rests between two calls: about a hundred calls a second in all.
const REST: Duration = Duration::from_millis(40);

/// What became of all calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many there were.
    pub calls: usize,
    /// How many each server has answered.
    pub answered: BTreeMap<String, usize>,
    /// How many ended otherwise, and how.
    pub failed: BTreeMap<String, usize>,
}

impl Tally {
    fn count(&mut self, answer: &Answer) {
        self.calls += 1;
        match answer {
            // Nothing but the end.
            Answer::From(server) if server.is_empty() => {
                *self.failed.entry("closed".to_owned()).or_default() += 1;
            }
            Answer::From(server) => *self.answered.entry(server.clone()).or_default() += 1,
            other => *self.failed.entry(other.to_string()).or_default() += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        for (server, count) in other.answered {
            *self.answered.entry(server).or_default() += count;
        }
        for (how, count) in other.failed {
            *self.failed.entry(how).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: usize = self.failed.values().sum();
        write!(
            f,
            "{} calls, {} servers, {failed} without an answer",
            self.calls,
            self.answered.len()
        )?;
        for (how, count) in &self.failed {
            write!(f, ", {count} {how}")?;
        }
        Ok(())
    }
}

/// Asks `TO` for `SECONDS`, and prints a [`Tally`].
///
/// # Errors
/// If it is not told whom, and how long.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let words: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let [to, seconds] = words.as_slice() else {
        bail!("{ARGUMENT} TO SECONDS");
    };
    let to: SocketAddr = to.parse().context("an address and port")?;
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let tally = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(move || ask_until(to, end)))
            .collect();
        let mut tally = Tally::default();
        for caller in callers {
            tally.add(caller.join().expect("asking does not panic"));
        }
        tally
    });
    println!("{}", serde_json::to_string(&tally)?);
    Ok(())
}

fn ask_until(to: SocketAddr, end: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < end {
        tally.count(&ask_tcp(to).unwrap_or_else(Answer::from));
        thread::sleep(REST);
    }
    tally
}
