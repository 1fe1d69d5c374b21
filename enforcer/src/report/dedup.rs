//! What holds for a while is said when it begins, not again and again.

use std::collections::BTreeSet;

/// What was last said.
#[derive(Debug, Default)]
pub struct Dedup {
    said: BTreeSet<String>,
    /// Where those are that are not said.
    all: &'static str,
}

/// What has all that holds now.
pub const IN_STATUS: &str = ": `enforcer status` lists all that hold now";

/// Lines that are said at one time at most: a registry that is wrong as a whole is not a thousand news.
const MOST: usize = 20;

impl Dedup {
    /// Nothing was said; `all` ends the line about those that are not said.
    pub fn listed(all: &'static str) -> Self {
        let said = BTreeSet::new();
        Self { said, all }
    }

    /// Takes all that holds now, and returns the lines that are new, in order; too many are cut, with how many.
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
