//! What `enforcer top` knows and shows.

use std::{collections::HashMap, time::Instant};

use enforcer_core::observed::Observation;
use jiff::Timestamp;

use super::{
    arrange::{Arranged, Entry, Wish},
    column::Column,
    group::Group,
    rate::Counts,
    row::{Id, Row, is_refusal},
    select::Selection,
};
use crate::control::Observed;

/// A time, by the clock that only goes forward and by that of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Rates are made of it.
    pub(crate) instant: Instant,
    /// Observations have it.
    pub(crate) time: Timestamp,
}

/// What is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Screen {
    /// The table, and the details of its selected line.
    #[default]
    Table,
    /// The same, while the filter is typed.
    Typing,
    /// The details alone.
    Details,
    /// The keys.
    Help,
}

/// Why nothing answers, and since when.
#[derive(Clone, Debug)]
pub(super) struct Away {
    pub(super) since: Timestamp,
    pub(super) why: String,
}

/// A line, for the view.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    Group(&'a Group),
    Row(&'a Row),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    rows: Vec<Row>,
    lines: Arranged,
    selection: Selection,
    dropped: u64,
    /// When the last answer came.
    answered: Option<Moment>,
    now: Timestamp,
    away: Option<Away>,
    is_paused: bool,
    pub(super) wish: Wish,
    pub(super) screen: Screen,
    pub(super) has_colour: bool,
    /// How often lines were put in order, which takes longer than all else.
    #[cfg(test)]
    pub(super) arranged: usize,
}

impl State {
    /// With no answer yet.
    pub(crate) fn new(sort: Column, has_colour: bool, now: Timestamp) -> Self {
        Self {
            rows: Vec::new(),
            lines: Arranged::default(),
            selection: Selection::default(),
            dropped: 0,
            answered: None,
            now,
            away: None,
            is_paused: false,
            wish: Wish {
                sort,
                ..Wish::default()
            },
            screen: Screen::default(),
            has_colour,
            #[cfg(test)]
            arranged: 0,
        }
    }

    /// Takes an answer. One that comes while it is paused is not shown.
    pub(crate) fn update(&mut self, answer: Observed, at: Moment) {
        self.away = None;
        if self.is_paused {
            return;
        }
        let before = self.rows.drain(..).map(|row| (row.id, row.counts));
        let mut before: HashMap<Id, Counts> = before.collect();
        let answered = self.answered;
        let row = |seen: Observation| {
            let id = Id::of(&seen);
            let mut counts = before.remove(&id).unwrap_or_else(|| match answered {
                Some(answered) if seen.first >= answered.time => Counts::new_since(answered.instant),
                // It was there before: after the enforcer's start, say, which knows what an earlier one has kept.
                _ => Counts::default(),
            });
            counts.add(at.instant, seen.count);
            let rate = counts.rate();
            Row {
                id,
                seen,
                counts,
                rate,
            }
        };
        self.rows = answer.observations.into_iter().map(row).collect();
        self.dropped = answer.dropped;
        self.answered = Some(at);
        self.now = at.time;
        self.arrange();
    }

    /// Nothing has answered.
    pub(crate) fn fail(&mut self, why: String, at: Moment) {
        let since = self.away.as_ref().map_or(at.time, |away| away.since);
        self.away = Some(Away { since, why });
    }

    /// Time has passed.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        if !self.is_paused {
            self.now = now;
        }
    }

    /// Whether nobody has to be asked.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn pause(&mut self) {
        self.is_paused = !self.is_paused;
    }

    /// Makes the lines anew, after rows or what is wished for have changed.
    pub(super) fn arrange(&mut self) {
        self.lines = self.wish.arrange(&self.rows);
        self.selection.follow(&self.lines, &self.rows);
        #[cfg(test)]
        {
            self.arranged += 1;
        }
    }

    /// Selects the line so many below.
    pub(super) fn step(&mut self, lines: isize) {
        self.choose(self.selection.at().saturating_add_signed(lines));
    }

    /// Selects a line, or the last one.
    pub(super) fn choose(&mut self, at: usize) {
        self.selection.choose(at, &self.lines, &self.rows);
    }

    /// How many lines the keys for pages move by.
    pub(super) fn page(&self) -> isize {
        isize::try_from(self.selection.page()).unwrap_or(isize::MAX)
    }

    /// Says for how many lines there is room.
    pub(super) fn show(&mut self, height: usize) {
        self.selection.show(height, self.lines.entries.len());
    }

    /// The lines that there is room for.
    pub(super) fn seen(&self) -> impl ExactSizeIterator<Item = Shown<'_>> {
        let seen = self.selection.seen(self.lines.entries.len());
        self.lines.entries[seen].iter().map(|entry| self.shown(*entry))
    }

    /// Which of those is selected.
    pub(super) fn cursor(&self) -> usize {
        self.selection.cursor()
    }

    fn shown(&self, entry: Entry) -> Shown<'_> {
        match entry {
            Entry::Group(at) => Shown::Group(&self.lines.groups[at]),
            Entry::Row(at) => Shown::Row(&self.rows[at]),
        }
    }

    /// The selected line.
    pub(super) fn selected(&self) -> Option<Shown<'_>> {
        let entry = self.lines.entries.get(self.selection.at())?;
        Some(self.shown(*entry))
    }

    /// All lines, from the top.
    pub(super) fn all(&self) -> impl Iterator<Item = Shown<'_>> {
        self.lines.entries.iter().map(|entry| self.shown(*entry))
    }

    /// What time it is, or was when it was paused.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn away(&self) -> Option<&Away> {
        self.away.as_ref()
    }

    /// Destinations of all workloads, calls a second, and how many of those are refused or would be.
    pub(super) fn sums(&self) -> (usize, f64, f64) {
        let rate = |row: &Row| row.rate.unwrap_or_default();
        let refused = self.rows.iter().filter(|row| is_refusal(row.id.verdict));
        (
            self.rows.len(),
            self.rows.iter().map(rate).sum(),
            refused.map(rate).sum(),
        )
    }

    /// Calls that are in none of them.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}
