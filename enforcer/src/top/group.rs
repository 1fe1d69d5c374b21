//! Destinations that belong together, as one line.

use enforcer_core::observed::Seen;
use jiff::Timestamp;

use super::{
    column::{Column, Keys},
    row::{self, Row, ago, escaped, is_refusal},
};

/// What destinations are put together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum By {
    /// Each has a line of its own.
    #[default]
    Nothing,
    Namespace,
    Workload,
}

impl By {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Nothing => Self::Namespace,
            Self::Namespace => Self::Workload,
            Self::Workload => Self::Nothing,
        }
    }

    /// The group of a destination.
    pub(super) fn id(self, row: &Row) -> Option<Id> {
        let namespace = row.id.namespace.clone();
        match self {
            Self::Nothing => None,
            Self::Namespace => Some((namespace, None)),
            Self::Workload => Some((namespace, Some(row.id.workload.clone()))),
        }
    }
}

/// A namespace, or a workload of one.
pub(super) type Id = (String, Option<String>);

/// The sum of the destinations of a namespace or workload that are shown.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) id: Id,
    /// Where its destinations are among all.
    pub(super) rows: Vec<usize>,
    pub(super) rate: Option<f64>,
    /// Calls by verdict, of [`VERDICTS`].
    pub(super) calls: [u64; VERDICTS.len()],
    pub(super) last: Timestamp,
}

/// All verdicts, the most severe last.
pub(super) const VERDICTS: [Seen; 4] = [Seen::Allow, Seen::Unregistered, Seen::Audit, Seen::Deny];

impl Group {
    pub(super) fn new(id: Id) -> Self {
        Self {
            id,
            rows: Vec::new(),
            rate: None,
            calls: [0; VERDICTS.len()],
            last: Timestamp::MIN,
        }
    }

    pub(super) fn add(&mut self, at: usize, row: &Row) {
        self.rows.push(at);
        if let Some(more) = row.rate {
            *self.rate.get_or_insert_default() += more;
        }
        for (calls, verdict) in self.calls.iter_mut().zip(VERDICTS) {
            if verdict == row.id.verdict {
                *calls = calls.saturating_add(row.seen.count);
            }
        }
        self.last = self.last.max(row.seen.last);
    }

    /// The most severe one.
    pub(super) fn verdict(&self) -> Seen {
        let mut calls = self.calls.iter().zip(VERDICTS).rev();
        calls
            .find(|(calls, _)| **calls > 0)
            .map_or(Seen::Allow, |(_, verdict)| verdict)
    }

    /// `shop` or `shop/web`.
    pub(super) fn name(&self) -> String {
        match &self.id {
            (namespace, None) => namespace.clone(),
            (namespace, Some(workload)) => format!("{namespace}/{workload}"),
        }
    }

    fn sum(&self, is_meant: impl Fn(Seen) -> bool) -> u64 {
        let meant = self
            .calls
            .iter()
            .zip(VERDICTS)
            .filter(|(_, verdict)| is_meant(*verdict));
        meant.map(|(calls, _)| *calls).fold(0, u64::saturating_add)
    }

    pub(super) fn keys(&self) -> Keys<'_> {
        Keys {
            namespace: &self.id.0,
            workload: self.id.1.as_deref().unwrap_or_default(),
            to: ("", 0),
            verdict: self.verdict(),
            refused: self.sum(is_refusal),
            rate: self.rate.unwrap_or_default(),
            total: self.sum(|_| true),
            last: self.last,
            object: "",
        }
    }

    /// The text of a column, escaped; the name stands where the destinations do, which every terminal has room for.
    pub(super) fn cell(&self, column: Column, now: Timestamp) -> String {
        match column {
            Column::Destination => escaped(&format!("{} ({})", self.name(), self.rows.len())),
            Column::Verdict => self.verdict().to_string(),
            Column::Rate => row::rate(self.rate),
            Column::Total => self.sum(|_| true).to_string(),
            Column::Last => ago(self.last, now),
            Column::Namespace | Column::Workload | Column::Object => String::new(),
        }
    }
}
