//! Keeps noisy programs from flooding the log and from displacing each other's lines.
//!
//! A line is written at once when its subject is new. While the subject continues, it is written again after a
//! pause, with the number of repetitions. Each source of lines has a share: beyond it, lines are only counted, under
//! the source's name, and take nothing from others.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

use crate::turns::Shares;

/// Subjects, by the source they are about, and when each was last written.
#[derive(Debug)]
pub struct RateLimit<W, K> {
    pause: Duration,
    shares: Shares,
    seen: HashMap<W, Seen<K>>,
    suppressed: BTreeMap<W, u64>,
    swept: Duration,
}

/// What was written about one source.
#[derive(Debug)]
struct Seen<K> {
    subjects: HashMap<K, Written>,
    /// When entries whose pause is over were last removed.
    swept: Duration,
}

#[derive(Debug)]
struct Written {
    at: Duration,
    /// How often it has happened since.
    again: u64,
}

impl<W: Clone + Eq + Hash + Ord, K: Eq + Hash> RateLimit<W, K> {
    /// Writes the same subject once in `pause`, and in that time no more subjects about one source than its share.
    pub fn new(pause: Duration, shares: Shares) -> Self {
        Self {
            pause,
            shares,
            seen: HashMap::new(),
            suppressed: BTreeMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// Whether to write of `subject`, which is about `about`, now, with how many times it was not written of since
    /// the last time. `now` counts from any fixed moment.
    pub fn ask(&mut self, about: W, subject: K, now: Duration) -> Option<u64> {
        self.forget(now);
        let holders = self.seen.len() + usize::from(!self.seen.contains_key(&about));
        let share = self.shares.of_each(holders);
        let seen = self.seen.entry(about.clone()).or_insert_with(|| Seen {
            subjects: HashMap::new(),
            swept: now,
        });
        if let Some(written) = seen.subjects.get_mut(&subject) {
            if now.saturating_sub(written.at) < self.pause {
                written.again += 1;
                return None;
            }
            written.at = now;
            return Some(std::mem::take(&mut written.again));
        }
        let mut suppressed = 0;
        if seen.subjects.len() >= share {
            suppressed += seen.make_room(self.pause, now);
        }
        let has_room = seen.subjects.len() < share;
        if has_room {
            seen.subjects.insert(subject, Written { at: now, again: 0 });
        } else {
            suppressed += 1;
        }
        if suppressed > 0 {
            *self.suppressed.entry(about).or_default() += suppressed;
        }
        has_room.then_some(0)
    }

    /// How many lines were suppressed since the last call, by source.
    pub fn take_suppressed(&mut self) -> BTreeMap<W, u64> {
        std::mem::take(&mut self.suppressed)
    }

    /// Forgets sources about which nothing was written for a while: a subject that has not continued by then has
    /// ended, and its number of repetitions no longer matters.
    fn forget(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < self.pause {
            return;
        }
        self.swept = now;
        let pause = self.pause;
        let is_recent = |written: &Written| now.saturating_sub(written.at) < 2 * pause;
        self.seen.retain(|_, seen| seen.subjects.values().any(is_recent));
    }
}

impl<K: Eq + Hash> Seen<K> {
    /// Forgets subjects whose pause is over, as often as that is cheap; returns how many of their repetitions were
    /// not written.
    fn make_room(&mut self, pause: Duration, now: Duration) -> u64 {
        if now.saturating_sub(self.swept) < pause / 16 {
            return 0;
        }
        self.swept = now;
        let mut suppressed = 0;
        self.subjects.retain(|_, written| {
            let stays = now.saturating_sub(written.at) < pause;
            if !stays {
                suppressed += written.again;
            }
            stays
        });
        suppressed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SHARES: Shares = Shares { all: 1000, one: 10 };

    fn limit() -> RateLimit<&'static str, u32> {
        RateLimit::new(10 * SECOND, SHARES)
    }

    #[test]
    fn repeated_subject_is_written_once_a_pause_with_its_count() {
        let mut limit = limit();
        assert_eq!(limit.ask("web", 1, SECOND), Some(0));
        assert_eq!(limit.ask("web", 1, 2 * SECOND), None);
        assert_eq!(limit.ask("web", 1, 3 * SECOND), None);
        assert_eq!(
            limit.ask("web", 2, 3 * SECOND),
            Some(0),
            "another subject is written at once"
        );
        assert_eq!(limit.ask("web", 1, 11 * SECOND), Some(2));
        assert_eq!(limit.ask("web", 1, 12 * SECOND), None);
        assert_eq!(
            limit.take_suppressed(),
            BTreeMap::new(),
            "a repetition is written of later"
        );
    }

    #[test]
    fn who_uses_up_a_share_takes_nothing_from_another() {
        let mut limit = limit();
        let written = (0..5000).filter(|subject| limit.ask("bot", *subject, SECOND).is_some());
        assert_eq!(written.count(), SHARES.one);
        for subject in 0..10 {
            assert_eq!(limit.ask("web", subject, SECOND), Some(0), "{subject}");
        }
    }

    #[test]
    fn what_is_not_written_is_counted_and_written_of_later() {
        let mut limit = limit();
        for subject in 0..25 {
            limit.ask("bot", subject, SECOND);
        }
        assert_eq!(limit.take_suppressed(), BTreeMap::from([("bot", 15)]));
        assert_eq!(limit.take_suppressed(), BTreeMap::new(), "it is told once");
        assert_eq!(
            limit.ask("bot", 24, 12 * SECOND),
            Some(0),
            "its share is free again"
        );
    }

    #[test]
    fn every_occurrence_is_written_or_counted() {
        let mut limit = limit();
        let (mut written, mut asked) = (0, 0);
        for second in 0..100 {
            for subject in 0..30 {
                // Some of them again at once, and others than the second before.
                for _ in 0..=subject % 3 {
                    asked += 1;
                    written += limit
                        .ask("bot", subject + second / 7, second * SECOND)
                        .map_or(0, |again| 1 + again);
                }
            }
        }
        let waiting = limit.seen["bot"].subjects.values();
        let waiting: u64 = waiting.map(|written| written.again).sum();
        let suppressed: u64 = limit.take_suppressed().values().sum();
        assert_eq!(written + waiting + suppressed, asked);
        assert!(suppressed > 0 && written > 0);
    }

    #[test]
    fn memory_is_bounded_and_those_who_are_quiet_are_forgotten() {
        let mut limit = RateLimit::new(10 * SECOND, SHARES);
        for about in 0..2000_u32 {
            for subject in 0..20 {
                limit.ask(about, subject, SECOND);
            }
        }
        let held: usize = limit.seen.values().map(|seen| seen.subjects.len()).sum();
        assert!(held < 8 * SHARES.all, "{held}");
        limit.ask(0, 0, 30 * SECOND);
        assert_eq!(limit.seen.len(), 1);
    }
}
