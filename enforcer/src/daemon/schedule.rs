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
    /// Since when there are changes that were carried out in part.
    unfinished: Option<Instant>,
    /// When what has failed is tried again.
    retry: Option<Instant>,
}

impl Schedule {
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

    /// Since when there are changes, which are carried out now; None if there are none.
    pub(super) fn take_changes(&mut self) -> Option<Instant> {
        let since = self.changed.take()?;
        // What has failed is in force only once all of it is.
        Some(self.unfinished.take().unwrap_or(since))
    }

    /// Changes that there were since then are in force, or not all of them.
    pub(super) fn note_carried_out(&mut self, since: Instant, is_done: bool) {
        if is_done {
            COUNTS.changes.note(since.elapsed());
        } else {
            self.unfinished = Some(since);
        }
        self.retry_unless(is_done);
    }

    pub(super) fn retry(&self) -> Option<Instant> {
        self.retry
    }

    pub(super) fn retry_unless(&mut self, is_done: bool) {
        self.retry = (!is_done).then(|| Instant::now() + RETRY);
    }
}
