//! Reports a lasting condition when it begins, not repeatedly.

use std::collections::BTreeSet;

/// The lines that were reported last.
#[derive(Debug, Default)]
pub struct Dedup {
    said: BTreeSet<String>,
    /// Where all lines can be found, including those left out.
    all: &'static str,
}

/// The place that lists all present conditions.
pub const IN_STATUS: &str = ": `enforcer status` lists all that hold now";

/// The most lines that are written at once: a registry that is wrong as a whole should not produce a thousand.
pub const MOST: usize = 20;

impl Dedup {
    /// Starts with nothing reported; `all` ends the line about those that are left out.
    pub fn listed(all: &'static str) -> Self {
        let said = BTreeSet::new();
        Self { said, all }
    }

    /// Takes all present lines and returns the new ones, in order; the rest of too many is replaced by its number.
    pub fn news(&mut self, now: BTreeSet<String>) -> Vec<String> {
        let mut news: Vec<_> = now.difference(&self.said).cloned().collect();
        if news.len() > MOST {
            let cut = news.len() - MOST;
            news.truncate(MOST);
            news.push(format!("and {cut} more like these{}", self.all));
        }
        self.said = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: std::ops::Range<u32>) -> BTreeSet<String> {
        numbers.map(|number| format!("{number:03}")).collect()
    }

    #[test]
    fn what_holds_is_said_when_it_begins() {
        let mut once = Dedup::default();
        assert_eq!(once.news(lines(0..2)), ["000", "001"]);
        assert_eq!(once.news(lines(1..3)), ["002"]);
        assert_eq!(once.news(lines(0..1)), ["000"], "it had ended, and begins again");
    }

    #[test]
    fn too_much_is_cut_with_its_number() {
        let news = Dedup::default().news(lines(0..100));
        assert_eq!(news.len(), MOST + 1);
        assert_eq!(news[MOST], "and 80 more like these");
        let listed = Dedup::listed(": there").news(lines(0..100));
        assert_eq!(listed[MOST], "and 80 more like these: there");
    }
}
