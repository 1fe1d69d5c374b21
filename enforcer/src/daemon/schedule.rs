//! When changes are carried out.

use std::time::Duration;

use tokio::time::Instant;

use crate::counts::COUNTS;

/// After how long what has failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// For how long changes are collected before they are carried out.
const COLLECT: Duration = Duration::from_millis(50);

/// What is to be carried out, and when.
#[derive(Default)]
pub(super) struct Schedule {
    /// Since when there are changes that are not carried out.
    changed: Option<Instant>,
    /// When the first of the changes was received that are not all in force.
    received: Option<Instant>,
    /// When what has failed is tried again.
    retry: Option<Instant>,
}

impl Schedule {
    /// A source says something else.
    pub(super) fn note_received(&mut self) {
        self.received.get_or_insert_with(Instant::now);
        self.note_change();
    }

    /// Something is to be carried out.
    pub(super) fn note_change(&mut self) {
        self.retry = None;
        self.changed.get_or_insert_with(Instant::now);
    }

    pub(super) fn has_changes(&self) -> bool {
        self.changed.is_some()
    }

    /// Whether more changes are collected before a plan is made. A thousand changes need one plan, and an endless
    /// stream does not delay it.
    pub(super) fn collects(&self) -> bool {
        self.changed.is_none_or(|since| since.elapsed() < COLLECT)
    }

    /// Whether there are changes, which are carried out now.
    pub(super) fn take_changes(&mut self) -> bool {
        self.changed.take().is_some()
    }

    /// All changes that were received are in force in the maps.
    pub(super) fn note_in_force(&mut self) {
        if let Some(received) = self.received.take() {
            COUNTS.changes.note(received.elapsed());
        }
    }

    pub(super) fn retry(&self) -> Option<Instant> {
        self.retry
    }

    pub(super) fn retry_unless(&mut self, is_done: bool) {
        self.retry = (!is_done).then(|| Instant::now() + RETRY);
    }
}
