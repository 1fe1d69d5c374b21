//! When to look at the files again: at once after an event, and the less often the more looks there have been.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{DEBOUNCE, SHARE, hints::Wake};

/// The shortest pause between two looks...
const SHORTEST: Duration = Duration::from_millis(2);
/// ...and the longest after an event.
const LONGEST: Duration = Duration::from_millis(200);
/// What follows from a look takes at least this long.
const LEAST_COST: Duration = Duration::from_millis(1);
/// Looks that are worth this much time follow each other without a longer pause.
const BURST: Duration = Duration::from_secs(1);

/// Keeps looks to a share of the time, after a burst.
pub(super) struct Pace {
    wake: Arc<Wake>,
    /// When all looks so far will have had their share.
    paid: Instant,
}

impl Pace {
    pub(super) fn new(wake: Arc<Wake>) -> Self {
        Self {
            wake,
            paid: Instant::now(),
        }
    }

    /// Waits until `due`, or for an event. The last look took `cost`.
    pub(super) async fn rest(&mut self, mut due: Instant, cost: Duration) {
        let earliest = Instant::now() + self.pause(Instant::now(), cost);
        loop {
            tokio::select! {
                () = sleep_until(due) => break,
                () = self.wake.now.notified() => break,
                () = self.wake.later.notified() => due = due.min(Instant::now() + DEBOUNCE),
            }
        }
        sleep_until(earliest).await;
    }

    /// For how long nothing is looked at after a look that took `cost` and ended `now`.
    fn pause(&mut self, now: Instant, cost: Duration) -> Duration {
        self.paid = self.paid.max(now) + cost.max(LEAST_COST) * SHARE;
        let debt = (self.paid - now).saturating_sub(BURST);
        // What has a long way to go is not waited for: it would be late for whoever writes next.
        self.paid = self.paid.min(now + BURST + LONGEST);
        debt.clamp(SHORTEST.max(cost.min(LONGEST)), LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many looks of this cost there are in so many seconds, if something changes all the time.
    fn looks(cost: Duration, seconds: u64) -> u32 {
        let mut pace = Pace::new(Arc::default());
        let begin = Instant::now();
        let mut now = begin;
        let mut looks = 0;
        while now < begin + Duration::from_secs(seconds) {
            now += cost;
            looks += 1;
            now += pace.pause(now, cost);
        }
        looks
    }

    #[test]
    fn first_looks_follow_each_other_and_later_ones_keep_to_their_share() {
        let cheap = Duration::from_micros(200);
        let at_first = looks(cheap, 1);
        assert!((60..120).contains(&at_first), "{at_first}");
        // One look in 20 ms, which is 1 ms with what follows from it, beside the burst.
        let in_a_minute = looks(cheap, 60);
        assert!((3000..3100).contains(&in_a_minute), "{in_a_minute}");
    }

    #[test]
    fn expensive_looks_are_rare() {
        let in_a_minute = looks(Duration::from_millis(100), 60);
        assert!((200..=201).contains(&in_a_minute), "{in_a_minute}");
    }

    #[test]
    fn rest_makes_good_for_a_burst() {
        let mut pace = Pace::new(Arc::default());
        let mut now = Instant::now();
        for _ in 0..1000 {
            pace.pause(now, Duration::ZERO);
        }
        now += Duration::from_secs(2);
        assert_eq!(pace.pause(now, Duration::ZERO), SHORTEST);
    }
}
