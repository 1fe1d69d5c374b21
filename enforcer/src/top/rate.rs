//! Calls per second, from the counts of several answers.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// A rate is that of about this long. The enforcer counts once a second, as it is asked: over one second, it would be
/// nothing and twice as much in turns.
const WINDOW: Duration = Duration::from_secs(3);

/// The counts of one destination: the last one, and those before it that a rate needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(VecDeque<(Instant, u64)>);

impl Counts {
    /// Of a destination that had not been seen at that time.
    pub(super) fn new_since(at: Instant) -> Self {
        Self(VecDeque::from([(at, 0)]))
    }

    /// Adds what is counted now. One that is lower than before is of another enforcer, and begins anew.
    pub(super) fn add(&mut self, at: Instant, count: u64) {
        if self.0.back().is_some_and(|(_, before)| count < *before) {
            self.0.clear();
        }
        self.0.push_back((at, count));
        let is_old = |sample: &(Instant, u64)| at.saturating_duration_since(sample.0) >= WINDOW;
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    /// Calls per second; None as long as there is one count alone.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((from, before), (to, now)) = (self.0.front()?, self.0.back()?);
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (now - before) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after counts at these seconds.
    fn check(counts: &[(u64, u64)], expected: Option<f64>) {
        let start = Instant::now();
        let mut all = Counts::default();
        for (second, count) in counts {
            all.add(start + Duration::from_secs(*second), *count);
        }
        assert_eq!(all.rate(), expected, "{counts:?}");
        assert!(all.0.len() <= 4, "{all:?}");
    }

    #[test]
    fn rate_is_the_difference_of_counts_by_the_time_between_them() {
        check(&[], None);
        check(&[(0, 7)], None);
        check(&[(0, 7), (1, 17)], Some(10.0));
        check(&[(0, 7), (2, 17)], Some(5.0));
        check(&[(0, 7), (60, 7)], Some(0.0));
    }

    #[test]
    fn counts_that_come_in_bunches_make_an_even_rate() {
        check(&[(0, 0), (1, 0), (2, 20), (3, 30)], Some(10.0));
        check(&[(0, 0), (1, 0), (2, 20), (3, 30), (4, 30), (5, 50)], Some(10.0));
    }

    #[test]
    fn count_that_is_lower_than_before_begins_anew() {
        check(&[(0, 100), (1, 110), (2, 50)], None);
        check(&[(0, 100), (1, 110), (2, 50), (3, 54)], Some(4.0));
    }
}
