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
mod draft;
mod flow;
mod group;
mod ports;
mod proof;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod wildcard;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

pub use self::{change::Change, source::Sources};
use self::{
    candidate::{Candidate, candidates},
    draft::{Draft, Form},
    flow::Flow,
    group::Group,
    proof::Meant,
    wildcard::Fold,
};
use crate::{
    explain::Explanation,
    istio::{ExportTo, Object, ObjectId},
    model::Namespace,
    observed::Observation,
    registry::Registry,
    settings::Matching,
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
    let mut work = Work {
        registry,
        sources,
        entries: BTreeMap::new(),
        changes: BTreeMap::new(),
        fixed: BTreeSet::new(),
        left: Vec::new(),
        steps: 0,
    };
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

/// What is suggested so far; the registry has all of it.
struct Work<'a> {
    registry: Registry,
    sources: Sources,
    entries: BTreeMap<ObjectId, Entry>,
    changes: BTreeMap<ObjectId, Change>,
    /// Objects that are not changed in this round: those that it makes.
    fixed: BTreeSet<ObjectId>,
    /// How often something was suggested.
    steps: usize,
    /// What nothing was found for, with the reason if it is another than that of its explanation.
    left: Vec<(Flow<'a>, Option<String>)>,
}

impl<'a> Work<'a> {
    fn wildcards_are_off(&self) -> Option<&'static str> {
        let settings = self.registry.settings();
        if settings.matching == Matching::Istio {
            return Some("under the matching `istio` a wildcard allows any address on its ports");
        }
        (!settings.learns).then_some("no name below a wildcard is known without learning (dns.learn)")
    }

    /// Suggests for flows until nothing more is found: what is made for one can bring another near, as it would if it
    /// was there already.
    fn all(&mut self, mut flows: Vec<Flow<'a>>, has_wildcards: bool) {
        loop {
            let steps = self.steps;
            let others: Vec<_> = flows.extract_if(.., |flow| flow.is_for_somebody_else()).collect();
            self.left.extend(others.into_iter().map(|flow| (flow, None)));
            let groups = group::groups(flows);
            if has_wildcards {
                wildcard::folded(groups).into_iter().for_each(|fold| self.unfold(fold));
            } else {
                groups.iter().for_each(|group| self.solve(group));
            }
            if self.steps == steps {
                return;
            }
            self.fixed.clear();
            let left = std::mem::take(&mut self.left).into_iter();
            flows = left.filter_map(|(flow, _)| flow.now(&mut self.registry)).collect();
        }
    }

    fn unfold(&mut self, fold: Fold<'a>) {
        match fold {
            Fold::Single(group) => self.solve(&group),
            Fold::Below(whole, parts) => {
                if self.tried(&whole).is_none() {
                    parts.iter().for_each(|group| self.solve(group));
                }
            }
        }
    }

    /// Finds what allows a group, or parts of it, and notes the rest.
    fn solve(&mut self, group: &Group<'a>) {
        if let Some(service) = candidate::service(&mut self.registry, group) {
            let reason = format!("{service} has the host, and no ServiceEntry changes that");
            return self.give_up(group, Some(&reason));
        }
        let Some(left) = self.tried(group) else {
            let parts = group.divided();
            parts.iter().for_each(|part| self.solve(part));
            if parts.is_empty() {
                self.give_up(group, None);
            }
            return;
        };
        if !left.flows.is_empty() {
            self.give_up(&left, None);
        }
    }

    /// Applies the first candidate that allows all of a group and nothing else, else the one that allows most of it.
    /// Returns what is left; None if no candidate allows any of it and nothing else.
    fn tried(&mut self, group: &Group<'a>) -> Option<Group<'a>> {
        let candidates = candidates(&mut self.registry, group, (&self.sources, &self.fixed));
        let mut best: Option<(Group<'a>, usize)> = None;
        for (number, candidate) in candidates.iter().enumerate() {
            let Some((object, meant)) = self.meant(candidate, group) else {
                continue;
            };
            let old = self.registry.service_entry(&object.id()).map(Object::ServiceEntry);
            let Some(flows) = proof::applied(&mut self.registry, &object, group, &meant) else {
                continue;
            };
            if flows.is_empty() {
                self.keep(candidate, group);
                return Some(Group { flows, ..group.clone() });
            }
            proof::undo(&mut self.registry, &object, old);
            if best.as_ref().is_none_or(|(best, _)| flows.len() < best.flows.len()) {
                best = Some((Group { flows, ..group.clone() }, number));
            }
        }
        // Without the rest, an object for the others need not have what only the rest would use.
        let (rest, _) = best?;
        let is_left = |flow: &Flow<'_>| {
            let mut left = rest.flows.iter();
            left.any(|it| std::ptr::eq(it.seen, flow.seen) && it.to == flow.to)
        };
        let others = group.only(|flow| !is_left(flow));
        let more = self.tried(&others).unwrap_or(others);
        let flows = rest.flows.into_iter().chain(more.flows).collect();
        Some(Group { flows, ..group.clone() })
    }

    /// What a candidate may add; None if it is no valid object.
    fn meant(&mut self, candidate: &Candidate, group: &Group<'_>) -> Option<(Object, Meant)> {
        let object = candidate.object()?;
        let meant = Meant::by(group, &mut self.registry);
        Some(match candidate {
            // What is not there yet is for those who need it.
            Candidate::Changed(change) if !self.entries.contains_key(&change.id) => (object, meant.to_all()),
            Candidate::New(_) | Candidate::Changed(_) => (object, meant),
        })
    }

    fn keep(&mut self, candidate: &Candidate, group: &Group<'_>) {
        self.steps += 1;
        match candidate {
            Candidate::New(draft) => {
                let entry = Entry {
                    id: draft.id(),
                    document: draft.document(),
                    comments: self.remarks(draft, group),
                };
                self.fixed.insert(draft.id());
                self.sources.set(draft.id(), entry.document.clone());
                self.entries.insert(draft.id(), entry);
            }
            Candidate::Changed(change) => self.keep_change(Change::clone(change), group),
        }
    }

    fn keep_change(&mut self, mut change: Change, group: &Group<'_>) {
        let users = comment::users(group);
        if let Some(whole) = &change.whole {
            self.sources.set(change.id.clone(), whole.clone());
            if let Some(made) = self.entries.get_mut(&change.id) {
                made.document = whole.clone();
                made.comments.extend(users);
                return;
            }
        }
        change.comments = audience(&change.object, group);
        change.comments.extend(users);
        if let Some(earlier) = self.changes.remove(&change.id) {
            change = change.after(earlier);
        }
        self.changes.insert(change.id.clone(), change);
    }

    /// What there is to know of a new entry, and who used it.
    fn remarks(&self, draft: &Draft, group: &Group<'_>) -> Vec<String> {
        let is_istio = self.registry.settings().matching == Matching::Istio;
        let mut lines = match (&group.host, draft.form) {
            (Some(wildcard), Form::Below) => vec![format!(
                "A wildcard: it also allows every other name below {}, on these ports.",
                wildcard.as_str().trim_start_matches("*.")
            )],
            (Some(_), Form::Declared) if is_istio => vec![
                "With the addresses that were seen: under the matching `istio`, any address would be allowed without them."
                    .to_owned(),
                "An address that the name gets later has to be added.".to_owned(),
            ],
            (Some(host), Form::Declared) => vec![format!(
                "With the addresses that were seen: what {host} resolves to would not allow them."
            )],
            (None, _) => vec!["By address: no name was seen. The host never resolves (RFC 2606).".to_owned()],
            (Some(_), _) => Vec::new(),
        };
        if let Some(host) = &group.host
            && draft.host != host.as_str()
            && draft.form == Form::Declared
        {
            lines = vec![format!("By address: an entry for {host} would not do, or allow more.")];
        }
        lines.extend(comment::users(group));
        lines
    }

    fn give_up(&mut self, group: &Group<'a>, reason: Option<&str>) {
        let flows = group.flows.iter().cloned();
        self.left.extend(flows.map(|flow| (flow, reason.map(str::to_owned))));
    }

    /// What is not allowed by anything that is suggested.
    fn notes(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        for (flow, reason) in std::mem::take(&mut self.left) {
            let explanation = flow.explain(&mut self.registry);
            if !explanation.why.is_permission() {
                let note = Note::of(flow.seen, &explanation);
                let reason = reason.unwrap_or_else(|| note.reason.clone());
                notes.push(Note { reason, ..note });
            }
        }
        notes
    }
}

/// Who else gets what is added to an object.
fn audience(object: &Object, group: &Group<'_>) -> Vec<String> {
    let Object::ServiceEntry(entry) = object else {
        return Vec::new();
    };
    let users = group.namespaces();
    let mut others: Vec<String> = Vec::new();
    for to in &entry.export_to {
        match to {
            ExportTo::Everyone => others.push("every namespace".to_owned()),
            ExportTo::Own if !users.contains(&entry.meta.namespace) => others.push(entry.meta.namespace.to_string()),
            ExportTo::Namespace(name) if !users.contains(name) => others.push(name.to_string()),
            _ => {}
        }
    }
    if entry.export_to.is_empty() {
        others.push("whomever the mesh exports it to by default".to_owned());
    }
    if others.is_empty() {
        return Vec::new();
    }
    vec![format!("It is exported to {}, who may then do the same.", others.join(", "))]
}
