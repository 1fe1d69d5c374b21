//! The selected line, which stays on its destination, and the part of the table that is seen.

use std::ops::Range;

use super::{
    arrange::{Arranged, Entry},
    group,
    row::{self, Row},
};

/// What is selected.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chosen {
    Group(group::Id),
    Row(row::Id),
}

/// The selected line and the first that is seen.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// None until somebody moves it: then it is the first line, whatever that is.
    chosen: Option<Chosen>,
    at: usize,
    offset: usize,
    /// How many lines were seen last.
    height: usize,
}

impl Selection {
    /// Where it is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Where it is among the lines that are seen.
    pub(super) fn cursor(&self) -> usize {
        self.at.saturating_sub(self.offset)
    }

    /// Which of `all` lines are seen.
    pub(super) fn seen(&self, all: usize) -> Range<usize> {
        let end = (self.offset + self.height).min(all);
        self.offset.min(end)..end
    }

    /// Finds what is selected again after lines have changed; where that is gone, the line in its place is selected.
    pub(super) fn follow(&mut self, lines: &Arranged, rows: &[Row]) {
        let Some(chosen) = &self.chosen else {
            self.at = 0;
            return;
        };
        let is_it = |entry: &Entry| match (entry, chosen) {
            (Entry::Group(at), Chosen::Group(id)) => lines.groups[*at].id == *id,
            (Entry::Row(at), Chosen::Row(id)) => rows[*at].id == *id,
            _ => false,
        };
        match lines.entries.iter().position(is_it) {
            Some(at) => self.at = at,
            None => self.choose(self.at, lines, rows),
        }
    }

    /// Selects the line there, or the last one.
    pub(super) fn choose(&mut self, at: usize, lines: &Arranged, rows: &[Row]) {
        self.at = at.min(lines.entries.len().saturating_sub(1));
        self.chosen = lines.entries.get(self.at).map(|entry| match entry {
            Entry::Group(at) => Chosen::Group(lines.groups[*at].id.clone()),
            Entry::Row(at) => Chosen::Row(rows[*at].id.clone()),
        });
    }

    /// How many lines are between a page and the next.
    pub(super) fn page(&self) -> usize {
        self.height.saturating_sub(1).max(1)
    }

    /// Moves what is seen, `height` of `all` lines, as little as the selected one needs.
    pub(super) fn show(&mut self, height: usize, all: usize) {
        self.height = height;
        let lowest = (self.at + 1).saturating_sub(height);
        self.offset = self.offset.clamp(lowest, self.at.max(lowest));
        self.offset = self.offset.min(all.saturating_sub(height));
    }
}
