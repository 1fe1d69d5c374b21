//! Which lines there are, and in which order.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashMap},
};

use super::{
    column::{Column, Keys},
    group::{self, By, Group},
    row::{Row, is_refusal},
};

/// What is shown, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) sort: Column,
    pub(super) is_reversed: bool,
    /// Words that all have to be in a line.
    pub(super) filter: String,
    /// Leaves out what is neither refused nor would be.
    pub(super) is_refused_only: bool,
    pub(super) by: By,
    /// Groups whose destinations are shown.
    pub(super) open: BTreeSet<group::Id>,
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The group at this place.
    Group(usize),
    /// The destination at this place.
    Row(usize),
}

/// The lines from the top, and the groups that they are of.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    pub(super) entries: Vec<Entry>,
    pub(super) groups: Vec<Group>,
}

impl Wish {
    pub(super) fn arrange(&self, rows: &[Row]) -> Arranged {
        let words: Vec<_> = self.filter.split_whitespace().map(str::to_lowercase).collect();
        let is_wanted = |row: &Row| {
            (!self.is_refused_only || is_refusal(row.id.verdict)) && (words.is_empty() || row.has(&words))
        };
        let wanted = rows.iter().enumerate().filter(|(_, row)| is_wanted(row));
        if self.by == By::Nothing {
            let mut places: Vec<_> = wanted.map(|(at, _)| at).collect();
            self.sort(&mut places, rows);
            let entries = places.into_iter().map(Entry::Row).collect();
            return Arranged {
                entries,
                groups: Vec::new(),
            };
        }
        let mut groups: Vec<Group> = Vec::new();
        let mut places = HashMap::new();
        for (at, row) in wanted {
            let Some(id) = self.by.id(row) else { continue };
            let place = *places.entry(id).or_insert_with_key(|id| {
                groups.push(Group::new(id.clone()));
                groups.len() - 1
            });
            groups[place].add(at, row);
        }
        groups.sort_by(|a, b| self.order(&a.keys(), &b.keys()).then_with(|| a.id.cmp(&b.id)));
        let mut entries = Vec::new();
        for (at, group) in groups.iter_mut().enumerate() {
            entries.push(Entry::Group(at));
            if self.open.contains(&group.id) {
                self.sort(&mut group.rows, rows);
                entries.extend(group.rows.iter().copied().map(Entry::Row));
            }
        }
        Arranged { entries, groups }
    }

    /// What is equal keeps its order from one answer to the next, by what it is.
    fn sort(&self, places: &mut [usize], rows: &[Row]) {
        places.sort_unstable_by(|a, b| {
            let (a, b) = (&rows[*a], &rows[*b]);
            self.order(&a.keys(), &b.keys()).then_with(|| a.id.cmp(&b.id))
        });
    }

    fn order(&self, a: &Keys<'_>, b: &Keys<'_>) -> Ordering {
        let order = self.sort.compare(a, b);
        if self.is_reversed { order.reverse() } else { order }
    }
}
