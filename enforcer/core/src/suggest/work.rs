//! Goes through the groups, and keeps of the candidates of each what passes the proof.
//!
//! What is kept is in the registry from then on, so that the next group is looked at beside it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Change, Entry, Note, Sources,
    candidate::{self, Audience, Candidate, candidates},
    comment,
    flow::Flow,
    group::{self, Group},
    proof::{self, Meant},
    wildcard::{self, Fold},
};
use crate::{
    istio::{Object, ObjectId},
    registry::Registry,
    settings::Matching,
};

/// What is suggested so far; the registry has all of it.
pub(super) struct Work<'a> {
    pub(super) registry: Registry,
    sources: Sources,
    pub(super) entries: BTreeMap<ObjectId, Entry>,
    pub(super) changes: BTreeMap<ObjectId, Change>,
    /// Objects that are not changed in this round: those that it makes.
    fixed: BTreeSet<ObjectId>,
    /// How often something was suggested.
    steps: usize,
    /// What nothing was found for, with the reason if it is another than that of its explanation.
    left: Vec<(Flow<'a>, Option<String>)>,
}

impl<'a> Work<'a> {
    pub(super) fn new(registry: Registry, sources: Sources) -> Self {
        Self {
            registry,
            sources,
            entries: BTreeMap::new(),
            changes: BTreeMap::new(),
            fixed: BTreeSet::new(),
            left: Vec::new(),
            steps: 0,
        }
    }

    /// Why no wildcard can be offered.
    pub(super) fn wildcards_are_off(&self) -> Option<&'static str> {
        let settings = self.registry.settings();
        if settings.matching == Matching::Istio {
            return Some("under the matching `istio` a wildcard allows any address on its ports");
        }
        (!settings.learns).then_some("no name below a wildcard is known without learning (dns.learn)")
    }

    /// Suggests for flows until nothing more is found: what is made for one can bring another near, as it would if it
    /// was there already.
    pub(super) fn all(&mut self, mut flows: Vec<Flow<'a>>, has_wildcards: bool) {
        loop {
            let steps = self.steps;
            let others: Vec<_> = flows.extract_if(.., |flow| flow.is_for_somebody_else()).collect();
            self.left.extend(others.into_iter().map(|flow| (flow, None)));
            let groups = group::groups(flows);
            if has_wildcards {
                wildcard::folded(groups)
                    .into_iter()
                    .for_each(|fold| self.unfold(fold));
            } else {
                groups.iter().for_each(|group| self.solve(group));
            }
            if self.steps == steps {
                return;
            }
            self.fixed.clear();
            let left = std::mem::take(&mut self.left).into_iter();
            flows = left
                .filter_map(|(flow, _)| flow.now(&mut self.registry))
                .collect();
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
            let old = self
                .registry
                .service_entry(&object.id())
                .map(Object::ServiceEntry);
            let Some(flows) = proof::applied(&mut self.registry, &object, group, &meant) else {
                continue;
            };
            if flows.is_empty() {
                let passed = candidates[..number].iter().find_map(Candidate::changed);
                self.keep(candidate, group, passed);
                return Some(Group {
                    flows,
                    ..group.clone()
                });
            }
            proof::undo(&mut self.registry, &object, old);
            if best
                .as_ref()
                .is_none_or(|(best, _)| flows.len() < best.flows.len())
            {
                best = Some((
                    Group {
                        flows,
                        ..group.clone()
                    },
                    number,
                ));
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
        Some(Group {
            flows,
            ..group.clone()
        })
    }

    /// What a candidate may add; None if it is no valid object.
    fn meant(&mut self, candidate: &Candidate, group: &Group<'_>) -> Option<(Object, Meant)> {
        let object = candidate.object()?;
        let meant = Meant::by(group, &mut self.registry);
        Some(match candidate {
            Candidate::Changed(_, Audience::All) => (object, meant.for_all()),
            Candidate::New(_) | Candidate::Changed(_, Audience::Users) => (object, meant),
        })
    }

    /// Takes a candidate that has been applied. `passed`: an object that comes near, and was not to be changed.
    fn keep(&mut self, candidate: &Candidate, group: &Group<'_>, passed: Option<&ObjectId>) {
        self.steps += 1;
        match candidate {
            Candidate::New(draft) => {
                let entry = Entry {
                    id: draft.id(),
                    document: draft.document(),
                    comments: comment::remarks(draft, group, (self.registry.settings().matching, passed)),
                };
                self.fixed.insert(draft.id());
                self.sources.set(draft.id(), entry.document.clone());
                self.entries.insert(draft.id(), entry);
            }
            Candidate::Changed(change, _) => self.keep_change(Change::clone(change), group),
        }
    }

    fn keep_change(&mut self, mut change: Change, group: &Group<'_>) {
        change.comments = comment::audience(&change, group);
        change.comments.extend(comment::users(group));
        if let Some(whole) = &change.whole {
            self.sources.set(change.id.clone(), whole.clone());
            if let Some(made) = self.entries.get_mut(&change.id) {
                made.document = whole.clone();
                made.comments.extend(change.comments);
                return;
            }
        }
        if let Some(earlier) = self.changes.remove(&change.id) {
            change = change.after(earlier);
        }
        self.changes.insert(change.id.clone(), change);
    }

    fn give_up(&mut self, group: &Group<'a>, reason: Option<&str>) {
        let flows = group.flows.iter().cloned();
        self.left
            .extend(flows.map(|flow| (flow, reason.map(str::to_owned))));
    }

    /// What is not allowed by anything that is suggested.
    pub(super) fn notes(&mut self) -> Vec<Note> {
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
