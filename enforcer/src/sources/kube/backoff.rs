//! Pauses between attempts: they back off, with jitter, so that thousands of nodes do not try at the same time.

use std::time::Duration;

use crate::random;

/// The first pause.
const FIRST: Duration = Duration::from_millis(250);

/// How long to wait before the next attempt.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            next: FIRST.min(longest),
        }
    }

    /// The next pause, twice as long as the last one, give or take a quarter.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause * 3 / 4 + spread(pause / 2)
    }

    /// Something has succeeded.
    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.longest);
    }
}

/// A random time up to `longest`.
pub(super) fn spread(longest: Duration) -> Duration {
    let share = u32::try_from(random::number() >> 48).unwrap_or_default();
    longest * share / (1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew() {
        let longest = Duration::from_secs(2);
        let mut backoff = Backoff::new(longest);
        let within = |pause: Duration, about: Duration| pause >= about * 3 / 4 && pause <= about * 5 / 4;
        for milliseconds in [250, 500, 1000, 2000, 2000] {
            let pause = backoff.pause();
            assert!(within(pause, Duration::from_millis(milliseconds)), "{pause:?}");
        }
        backoff.reset();
        assert!(within(backoff.pause(), FIRST));
    }
}
