//! Keeps one noisy program from drowning the log.
//!
//! A line is written at once when its subject is new; while it goes on it is written again after a pause, with how
//! often it has happened meanwhile. Nothing is lost from the counters.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// Subjects and when they were last written of.
#[derive(Debug)]
pub struct Quiet<K> {
    pause: Duration,
    seen: HashMap<K, Seen>,
}

#[derive(Debug)]
struct Seen {
    written: Duration,
    unwritten: u64,
}

/// Subjects that are remembered at most; beyond that the ones whose pause is over are forgotten.
const MOST: usize = 10_000;

impl<K: Eq + Hash> Quiet<K> {
    /// Writes of the same subject once in `pause`.
    pub fn new(pause: Duration) -> Self {
        Self {
            pause,
            seen: HashMap::new(),
        }
    }

    /// Whether to write of `subject` now, with how many times it was not written of since the last time. `now`
    /// counts from any fixed moment.
    pub fn ask(&mut self, subject: K, now: Duration) -> Option<u64> {
        if self.seen.len() >= MOST {
            let pause = self.pause;
            self.seen
                .retain(|_, seen| now.saturating_sub(seen.written) < pause);
        }
        if let Some(seen) = self.seen.get_mut(&subject) {
            if now.saturating_sub(seen.written) < self.pause {
                seen.unwritten += 1;
                return None;
            }
            seen.written = now;
            return Some(std::mem::take(&mut seen.unwritten));
        }
        if self.seen.len() < MOST {
            self.seen.insert(
                subject,
                Seen {
                    written: now,
                    unwritten: 0,
                },
            );
            return Some(0);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn repeated_subject_is_written_once_a_pause_with_its_count() {
        let mut quiet = Quiet::new(10 * SECOND);
        assert_eq!(quiet.ask("a", SECOND), Some(0));
        assert_eq!(quiet.ask("a", 2 * SECOND), None);
        assert_eq!(quiet.ask("a", 3 * SECOND), None);
        assert_eq!(
            quiet.ask("b", 3 * SECOND),
            Some(0),
            "another subject is written at once"
        );
        assert_eq!(quiet.ask("a", 11 * SECOND), Some(2));
        assert_eq!(quiet.ask("a", 12 * SECOND), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut quiet = Quiet::new(10 * SECOND);
        for subject in 0..2 * MOST {
            quiet.ask(subject, SECOND);
        }
        assert_eq!(quiet.seen.len(), MOST);
        assert_eq!(
            quiet.ask(3 * MOST, 20 * SECOND),
            Some(0),
            "room is made once pauses are over"
        );
    }
}
