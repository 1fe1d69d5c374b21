//! How many Events may be written in a time.

use std::time::{Duration, Instant};

/// The most in a burst, and the interval for one more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    pub(super) burst: u32,
    pub(super) refill: Duration,
}

/// How many Events may be written.
#[derive(Debug)]
pub(super) struct Budget {
    rate: Rate,
    left: u32,
    since: Instant,
}

impl Budget {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.burst,
            since: now,
        }
    }

    /// Takes one from the budget.
    ///
    /// # Errors
    /// If there is none left: when there is one again.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.left < self.rate.burst && now.duration_since(self.since) >= self.rate.refill {
            self.left += 1;
            self.since += self.rate.refill;
        }
        if self.left == self.rate.burst {
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(self.since + self.rate.refill),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_is_followed_by_one_at_a_time() {
        let refill = Duration::from_secs(6);
        let start = Instant::now();
        let mut budget = Budget::new(Rate { burst: 20, refill }, start);
        let taken = (0..100).filter(|_| budget.take(start).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(budget.take(start + refill / 2), Err(start + refill));
        assert_eq!(budget.take(start + refill), Ok(()));
        assert!(budget.take(start + refill).is_err());
        assert!(
            budget.take(start + 10 * refill).is_ok(),
            "what was not used is kept"
        );
    }
}
