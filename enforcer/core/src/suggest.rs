//! ServiceEntries that allow what was seen, and nothing else.
//!
//! ```text
//! Observation -> flow -> group -> candidate -> proof -> Suggestions -> YAML, JSON
//! ```
//!
//! Whatever proposes an object, `proof` compiles the registry with it and without, and keeps it only if every rule that
//! is new for any workload is one that was seen, and none is gone. What no object can allow becomes a note.
//!
//! **Architecture Invariant:** it decides nothing. The same observations give the same suggestions, in any order, and
//! once they are applied, none.

mod candidate;
mod change;
mod comment;
mod flow;
mod group;
mod ports;
mod proof;
mod reading;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod wildcard;
mod work;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use self::work::Work;
pub use self::{change::Change, source::Sources};
use crate::{
    explain::Explanation, istio::ObjectId, model::Namespace, observed::Observation, registry::Registry,
};

/// Of which observations, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only of workloads of this namespace.
    pub namespace: Option<Namespace>,
    /// Only of workloads of this name.
    pub workload: Option<String>,
    /// Only what was seen then or later.
    pub since: Option<Timestamp>,
    /// Whether hosts below one domain may become a wildcard.
    pub wildcards: bool,
}

/// What is suggested.
#[derive(Clone, Debug, Default)]
pub struct Suggestions {
    /// Objects that are not there yet, by namespace and name.
    pub entries: Vec<Entry>,
    /// Changes of objects that are there.
    pub changes: Vec<Change>,
    /// What could not be suggested, and why.
    pub notes: Vec<Note>,
}

/// A ServiceEntry that is not there yet.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub id: ObjectId,
    /// As it is applied.
    pub document: Value,
    /// Who used it, how often and when, and what there is to know of it.
    pub comments: Vec<String>,
}

/// What could not be suggested.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// What was seen.
    pub what: String,
    /// Why there is no suggestion.
    pub reason: String,
    /// What would allow it.
    pub instead: Option<String>,
}

impl Note {
    fn new(seen: &Observation, reason: &str) -> Self {
        Self {
            what: seen.to_string(),
            reason: reason.to_owned(),
            instead: None,
        }
    }

    fn of(seen: &Observation, explanation: &Explanation) -> Self {
        Self {
            instead: explanation.suggestion.clone(),
            ..Self::new(seen, &explanation.why.to_string())
        }
    }
}

/// What would allow the observations that `registry` does not allow now. Its workloads are known by namespace and name;
/// one that it does not have is taken for one without labels.
pub fn suggest(
    registry: Registry,
    observations: &[Observation],
    (options, sources): (&Options, Sources),
) -> Suggestions {
    let mut work = Work::new(registry, sources);
    let mut notes = Vec::new();
    let flows = flow::refused(&mut work.registry, observations, options, &mut notes);
    let has_wildcards = options.wildcards && {
        let reason = work.wildcards_are_off();
        notes.extend(reason.map(|reason| Note {
            what: "--wildcards".to_owned(),
            reason: reason.to_owned(),
            instead: None,
        }));
        reason.is_none()
    };
    work.all(flows, has_wildcards);
    notes.extend(work.notes());
    let notes: BTreeSet<_> = notes.into_iter().collect();
    Suggestions {
        entries: work.entries.into_values().collect(),
        changes: work.changes.into_values().collect(),
        notes: notes.into_iter().collect(),
    }
}
