//! Whose verdicts are whose: written by the owner as it binds workloads, read by the metrics' task.
//!
//! It must never keep the owner waiting: what is done with the lock held are a few look-ups.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use enforcer_common::CgroupId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What series are told apart by: a namespace, and the name of what owns the workload in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) workload: String,
}

impl Owner {
    /// One whose name is no workload's: in no namespace, and in parentheses.
    fn special(workload: &str) -> Self {
        Self {
            namespace: String::new(),
            workload: workload.to_owned(),
        }
    }

    /// Processes below a root that belong to no known workload.
    pub(crate) fn unknown() -> Self {
        Self::special("(unknown)")
    }

    /// Whoever is beyond the number of series.
    pub(crate) fn other() -> Self {
        Self::special("(other)")
    }

    /// Calls whose workload is not looked for.
    pub(crate) fn any() -> Self {
        Self::special("(any)")
    }
}

/// Who a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// A workload of this owner.
    Workload(Owner),
    /// The self-proof, whose verdicts nobody asks for.
    Canary,
}

/// What the ledger holds.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Who is bound now.
    pub(crate) bound: BTreeMap<CgroupId, Who>,
    /// Who was, and since when not, until what was counted is taken over.
    pub(crate) ended: BTreeMap<CgroupId, (Who, Instant)>,
    /// Events left out of the log.
    pub(crate) suppressed: BTreeMap<Owner, u64>,
    /// Whether all that is bound is in it: not before enforcement is in force.
    pub(crate) is_whole: bool,
    /// Whether workloads have come or gone since this was last set to false.
    pub(crate) has_changed: bool,
}

/// Shared by both.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: Notify,
}

/// The most owners whose suppressed events are counted by name: the others are counted together.
const MOST_SUPPRESSED: usize = 1000;

impl Ledger {
    /// What it holds.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        // Whoever panicked with it has left whole entries.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once workloads have come or gone.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A cgroup is bound.
    pub(crate) fn bind(&self, cgroup: CgroupId, who: Who) {
        let mut book = self.book();
        book.ended.remove(&cgroup);
        let is_workload = who != Who::Canary;
        let before = book.bound.insert(cgroup, who.clone());
        if is_workload && before != Some(who) {
            book.has_changed = true;
            drop(book);
            self.changed.notify_one();
        }
    }

    /// A cgroup is not bound any more.
    pub(crate) fn unbind(&self, cgroup: CgroupId) {
        let mut book = self.book();
        if let Some(who) = book.bound.remove(&cgroup) {
            book.has_changed |= who != Who::Canary;
            book.ended.insert(cgroup, (who, Instant::now()));
            drop(book);
            self.changed.notify_one();
        }
    }

    /// These cgroups are bound, and no others.
    pub(crate) fn set(&self, all: BTreeMap<CgroupId, Who>) {
        let gone: Vec<_> = {
            let book = self.book();
            let gone = book.bound.keys().filter(|cgroup| !all.contains_key(cgroup));
            gone.copied().collect()
        };
        gone.into_iter().for_each(|cgroup| self.unbind(cgroup));
        for (cgroup, who) in all {
            self.bind(cgroup, who);
        }
        self.book().is_whole = true;
        self.changed.notify_one();
    }

    /// So many events of a workload were left out of the log.
    pub(crate) fn suppress(&self, cgroup: CgroupId, count: u64) {
        let mut book = self.book();
        let ended = || book.ended.get(&cgroup).map(|(who, _)| who);
        let owner = match book.bound.get(&cgroup).or_else(ended) {
            Some(Who::Workload(owner)) => owner.clone(),
            Some(Who::Canary) => return,
            None => Owner::unknown(),
        };
        let has_room = book.suppressed.len() < MOST_SUPPRESSED || book.suppressed.contains_key(&owner);
        let owner = if has_room { owner } else { Owner::other() };
        let held = book.suppressed.entry(owner).or_default();
        *held = held.saturating_add(count);
    }
}
