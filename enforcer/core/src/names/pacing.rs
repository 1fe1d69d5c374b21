//! When a host is queried again.

use std::time::Duration;

use super::time::Jitter;

/// How often hosts are queried, and how many addresses are kept for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// A host is not queried again sooner than this after a good answer, however short its TTL: 5 s.
    pub floor: Duration,
    /// A host is queried again after this at the latest, however long the TTL: 5 minutes. A record with a TTL of a
    /// day may still be changed within the hour. With this ceiling, 10,000 hosts with two families cost 67 queries
    /// a second.
    pub ceiling: Duration,
    /// An address that is not in a newer good answer stays allowed for this long, because applications keep
    /// addresses longer than they should: 60 s.
    pub grace: Duration,
    /// The pause after a first failure: 1 s. Each further failure doubles it.
    pub first_retry: Duration,
    /// The longest pause between failures: 30 s.
    pub last_retry: Duration,
    /// The most addresses that are taken from one answer, and the most of one host that are kept for their grace
    /// period: 1024. What is left out is reported.
    pub most_addresses: usize,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            floor: Duration::from_secs(5),
            ceiling: Duration::from_secs(300),
            grace: Duration::from_secs(60),
            first_retry: Duration::from_secs(1),
            last_retry: Duration::from_secs(30),
            most_addresses: 1024,
        }
    }
}

impl Pacing {
    /// The pause after an answer with `ttl`: up to a tenth shorter, so that hosts whose answers arrived together
    /// spread out; never below the floor, where they spread by up to a tenth above it.
    pub(super) fn after_answer(&self, ttl: Duration, jitter: Jitter) -> Duration {
        let ttl = ttl.min(self.ceiling);
        let early = ttl - jitter.of(ttl / 10);
        early.max(self.floor + jitter.of(self.floor / 10))
    }

    /// The pause after `failures` failures in a row: doubled each time up to the longest, less up to a quarter,
    /// so that hosts that failed together are not retried together.
    pub(super) fn after_failure(&self, failures: u32, jitter: Jitter) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let pause = self
            .first_retry
            .saturating_mul(1 << doublings)
            .min(self.last_retry);
        pause - jitter.of(pause / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: [u16; 4] = [0, 1, 32_768, u16::MAX];

    #[track_caller]
    fn check(ttl: u64, between: (u64, u64)) {
        for draw in DRAWS {
            let pause = Pacing::default().after_answer(Duration::from_secs(ttl), Jitter::new(draw));
            let allowed = Duration::from_millis(between.0)..=Duration::from_millis(between.1);
            assert!(
                allowed.contains(&pause),
                "TTL {ttl} s with draw {draw} pauses {pause:?}"
            );
        }
    }

    #[test]
    fn answer_is_asked_for_again_at_its_ttl_or_a_tenth_before() {
        check(60, (54_000, 60_000));
        check(300, (270_000, 300_000));
    }

    #[test]
    fn short_ttl_is_held_to_the_floor() {
        check(0, (5_000, 5_500));
        check(1, (5_000, 5_500));
        check(5, (5_000, 5_500));
    }

    #[test]
    fn long_ttl_is_cut_to_the_ceiling() {
        check(86_400, (270_000, 300_000));
        check(u64::from(u32::MAX), (270_000, 300_000));
    }

    #[test]
    fn failures_double_the_pause_from_one_second_to_thirty() {
        let pacing = Pacing::default();
        for (failures, seconds) in [
            (1, 1),
            (2, 2),
            (3, 4),
            (4, 8),
            (5, 16),
            (6, 30),
            (7, 30),
            (u32::MAX, 30),
        ] {
            let longest = Duration::from_secs(seconds);
            for draw in DRAWS {
                let pause = pacing.after_failure(failures, Jitter::new(draw));
                assert!(
                    pause <= longest && pause >= longest * 3 / 4,
                    "{failures} failures pause {pause:?}"
                );
            }
        }
    }
}
