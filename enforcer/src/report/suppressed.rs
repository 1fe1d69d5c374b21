//! Counts what was left out, by source, and reports it from time to time in one line for each.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use enforcer_common::CgroupId;

/// The pause between two reports about the same source.
const PAUSE: Duration = Duration::from_secs(10);

/// The most lines that are written at once. The rest is summed up in one more line.
const MOST_LINES: usize = 20;

/// The most names that are stored: those with the most left out.
const MOST: usize = 1000;

/// What was left out since the start, by the name of the source.
#[derive(Debug, Default)]
pub struct Suppressed {
    names: BTreeMap<String, Count>,
    /// The kernel's counts when they were last read.
    counted: BTreeMap<CgroupId, u64>,
}

#[derive(Debug, Default)]
struct Count {
    all: u64,
    unreported: u64,
    said: Option<Duration>,
}

/// What to report: how much was left out, and about whom.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// One.
    Of(String, u64),
    /// This many others together.
    Others(usize, u64),
}

impl Suppressed {
    /// Takes the kernel's present counts as reported: they are an earlier start's.
    pub fn skip(&mut self, counted: BTreeMap<CgroupId, u64>) {
        self.counted = counted;
    }

    /// What the kernel has counted since the last call. A count only grows, unless its entry was removed and created
    /// again: then it begins at zero.
    pub fn news(&mut self, counted: BTreeMap<CgroupId, u64>) -> BTreeMap<CgroupId, u64> {
        let since = |of: &CgroupId, now: u64| match self.counted.get(of) {
            Some(before) if *before <= now => now - before,
            _ => now,
        };
        let news = counted.iter().map(|(of, now)| (*of, since(of, *now)));
        let news = news.filter(|(_, count)| *count > 0).collect();
        self.counted = counted;
        news
    }

    /// Counts what was left out about somebody.
    pub fn add(&mut self, name: String, count: u64) {
        let held = self.names.entry(name).or_default();
        held.all = held.all.saturating_add(count);
        held.unreported = held.unreported.saturating_add(count);
    }

    /// The lines to report now, largest number first. `now` counts from any fixed moment.
    pub fn lines(&mut self, now: Duration) -> Vec<Line> {
        let is_due = |count: &Count| {
            let is_long_ago = count.said.is_none_or(|said| now.saturating_sub(said) >= PAUSE);
            count.unreported > 0 && is_long_ago
        };
        let due = self.names.iter_mut().filter(|(_, count)| is_due(count));
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, count)| std::cmp::Reverse(count.unreported));
        let mut lines = Vec::new();
        let (mut others, mut of_others) = (0, 0);
        for (name, count) in due {
            count.said = Some(now);
            let unreported = std::mem::take(&mut count.unreported);
            if lines.len() < MOST_LINES {
                lines.push(Line::Of(name.clone(), unreported));
            } else {
                others += 1;
                of_others += unreported;
            }
        }
        if others > 0 {
            lines.push(Line::Others(others, of_others));
        }
        self.forget();
        lines
    }

    /// How much was left out since the start, by the name of the source.
    pub fn all(&self) -> impl Iterator<Item = (&str, u64)> {
        self.names.iter().map(|(name, count)| (name.as_str(), count.all))
    }

    fn forget(&mut self) {
        if self.names.len() <= MOST {
            return;
        }
        let mut counts: Vec<_> = self.names.iter().map(|(name, count)| (count.all, name)).collect();
        counts.sort_unstable();
        let surplus = counts.len() - MOST;
        let least: BTreeSet<String> = counts[..surplus]
            .iter()
            .map(|(_, name)| (*name).clone())
            .collect();
        self.names.retain(|name, _| !least.contains(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counts<const N: usize>(counts: [(u64, u64); N]) -> BTreeMap<CgroupId, u64> {
        counts.map(|(of, count)| (CgroupId(of), count)).into()
    }

    fn of(name: &str, count: u64) -> Line {
        Line::Of(name.to_owned(), count)
    }

    #[test]
    fn kernels_counts_are_told_as_what_came_since() {
        let mut suppressed = Suppressed::default();
        suppressed.skip(counts([(1, 100), (2, 7)]));
        assert_eq!(suppressed.news(counts([(1, 100), (2, 7)])), counts([]));
        assert_eq!(
            suppressed.news(counts([(1, 130), (2, 7), (3, 4)])),
            counts([(1, 30), (3, 4)])
        );
        assert_eq!(
            suppressed.news(counts([(1, 5), (3, 4)])),
            counts([(1, 5)]),
            "begun anew"
        );
        assert_eq!(suppressed.news(counts([(1, 6)])), counts([(1, 1)]));
        assert_eq!(
            suppressed.news(counts([(1, 6), (3, 4)])),
            counts([(3, 4)]),
            "gone and come back"
        );
    }

    #[test]
    fn each_is_said_at_once_and_then_once_a_pause_with_all_that_came() {
        let mut suppressed = Suppressed::default();
        suppressed.add("frontend/web".into(), 5);
        assert_eq!(suppressed.lines(SECOND), [of("frontend/web", 5)]);
        suppressed.add("frontend/web".into(), 2);
        suppressed.add("default/app".into(), 9);
        assert_eq!(suppressed.lines(2 * SECOND), [of("default/app", 9)]);
        suppressed.add("frontend/web".into(), 1);
        assert_eq!(suppressed.lines(10 * SECOND), []);
        assert_eq!(suppressed.lines(11 * SECOND), [of("frontend/web", 3)]);
        assert_eq!(suppressed.lines(30 * SECOND), []);
        let all: Vec<_> = suppressed.all().collect();
        assert_eq!(all, [("default/app", 9), ("frontend/web", 8)]);
    }

    #[test]
    fn lines_are_few_and_no_count_is_missing() {
        let mut suppressed = Suppressed::default();
        for number in 0..100 {
            suppressed.add(format!("n/w{number}"), number + 1);
        }
        let lines = suppressed.lines(SECOND);
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!(lines[0], of("n/w99", 100), "the most first");
        let told: u64 = lines
            .iter()
            .map(|line| match line {
                Line::Of(_, count) | Line::Others(_, count) => count,
            })
            .sum();
        assert_eq!(told, (1..=100).sum::<u64>());
        assert_eq!(suppressed.lines(2 * SECOND), []);
    }

    #[test]
    fn memory_is_bounded_and_keeps_those_about_whom_most_was_left_out() {
        let mut suppressed = Suppressed::default();
        for number in 0..2 * MOST {
            suppressed.add(format!("n/w{number}"), number as u64 + 1);
        }
        suppressed.lines(SECOND);
        assert_eq!(suppressed.all().count(), MOST);
        assert!(
            suppressed
                .all()
                .any(|(name, _)| name == format!("n/w{}", 2 * MOST - 1))
        );
    }
}
