//! What clients ask, for how long, and what came of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// How long a client asks, in seconds, if it is not to be the short time of an ordinary run of the tests.
const SECONDS: &str = "ENFORCER_SERVERS_SECONDS";
const SHORT: f32 = 3.0;

/// How many failures are told of in full.
const TOLD: usize = 3;

/// What came of a client's requests.
#[derive(Debug, Default)]
pub struct Tally {
    /// Those that were answered.
    pub answered: u64,
    /// Those that were not.
    pub failed: u64,
    told: Vec<String>,
}

/// How long a client asks.
///
/// # Errors
/// If the environment says something that is no time.
pub fn duration() -> Result<Duration> {
    let seconds = std::env::var(SECONDS).map_or(Ok(SHORT), |text| {
        text.parse()
            .with_context(|| format!("{SECONDS}={text} is no number of seconds"))
    })?;
    Duration::try_from_secs_f32(seconds).with_context(|| format!("{SECONDS}={seconds}"))
}

impl Tally {
    /// Asks until the time is up, at least once.
    pub fn of(duration: Duration, mut ask: impl FnMut() -> Result<()>) -> Self {
        let deadline = Instant::now() + duration;
        let mut tally = Self::default();
        loop {
            tally.note(ask());
            if Instant::now() >= deadline {
                return tally;
            }
        }
    }

    /// Notes what one request came to.
    pub fn note(&mut self, result: Result<()>) {
        match result {
            Ok(()) => self.answered += 1,
            Err(error) => {
                self.failed += 1;
                if self.told.len() < TOLD {
                    self.told.push(format!("{error:#}"));
                }
            }
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.failed += other.failed;
        self.told.extend(other.told);
        self.told.truncate(TOLD);
        self
    }

    /// Whether there was something to answer, and all of it was answered.
    pub fn is_whole(&self) -> bool {
        self.answered > 0 && self.failed == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests answered, {} failed", self.answered, self.failed)?;
        self.told.iter().try_for_each(|why| write!(f, "; {why}"))
    }
}
