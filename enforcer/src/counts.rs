//! What this process has counted of itself, for whoever asks for metrics: numbers that only grow.
//!
//! They belong to the process as its log does. It must never keep anybody waiting, nor grow.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What became of a question for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// It was given addresses.
    Answered,
    /// The name has none.
    Empty,
    /// There is no such name.
    NoSuchName,
    /// The resolver could not find out.
    ServerFailure,
    /// The resolver does not want to say.
    Refused,
    /// Nothing came back in time.
    Timeout,
    /// Nothing can connect to any address of the answer.
    Unusable,
    /// It failed otherwise.
    Failed,
}

impl Resolution {
    /// All of them, with the words for them.
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::Answered, "answered"),
        (Self::Empty, "empty"),
        (Self::NoSuchName, "no_such_name"),
        (Self::ServerFailure, "server_failure"),
        (Self::Refused, "refused"),
        (Self::Timeout, "timeout"),
        (Self::Unusable, "unusable"),
        (Self::Failed, "failed"),
    ];
}

/// A number that only grows.
#[derive(Debug)]
pub(crate) struct Count(AtomicU64);

impl Count {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How often something took how long.
#[derive(Debug)]
pub(crate) struct Times {
    /// Those up to each of [`Times::BOUNDS`] and over the one before; the last are over all of them.
    buckets: [Count; Times::BOUNDS.len() + 1],
    nanoseconds: Count,
}

impl Times {
    /// In seconds. Changes are collected for 50 ms before they are carried out.
    pub(crate) const BOUNDS: [f64; 12] = [
        0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
    ];

    const fn new() -> Self {
        Self {
            buckets: [const { Count::new() }; Self::BOUNDS.len() + 1],
            nanoseconds: Count::new(),
        }
    }

    pub(crate) fn note(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = Self::BOUNDS.iter().position(|bound| seconds <= *bound);
        self.buckets[bucket.unwrap_or(Self::BOUNDS.len())].add(1);
        self.nanoseconds
            .add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many there were in each bucket, and how long all took together.
    pub(crate) fn get(&self) -> (Vec<u64>, Duration) {
        let buckets = self.buckets.iter().map(Count::get).collect();
        (buckets, Duration::from_nanos(self.nanoseconds.get()))
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Counts {
    resolutions: [Count; Resolution::ALL.len()],
    /// Rounds of the self-proof that found everything as it should be, and those that did not.
    pub(crate) proven: Count,
    pub(crate) unproven: Count,
    /// What somebody had changed or removed in the kernel.
    pub(crate) lapses: Count,
    /// From a change being received to its being in force in the maps.
    pub(crate) changes: Times,
}

/// This process's.
pub(crate) static COUNTS: Counts = Counts {
    resolutions: [const { Count::new() }; Resolution::ALL.len()],
    proven: Count::new(),
    unproven: Count::new(),
    lapses: Count::new(),
    changes: Times::new(),
};

impl Counts {
    /// What became of questions for one host.
    pub(crate) fn resolution(&self, outcome: Resolution) -> &Count {
        &self.resolutions[outcome as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_first_bucket_that_holds_it() {
        let times = Times::new();
        for millis in [1, 10, 11, 60_000, 60_001] {
            times.note(Duration::from_millis(millis));
        }
        let (buckets, sum) = times.get();
        assert_eq!((buckets[0], buckets[1]), (2, 1));
        assert_eq!((buckets[11], buckets[12]), (1, 1));
        assert_eq!(buckets.iter().sum::<u64>(), 5);
        assert_eq!(sum, Duration::from_millis(120_023));
    }

    #[test]
    fn every_outcome_has_its_own_number() {
        for (place, (outcome, _)) in Resolution::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
        }
    }
}
