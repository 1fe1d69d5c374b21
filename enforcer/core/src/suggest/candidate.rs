//! What may be suggested for a group, best first: a change of an object that nearly covers it, a new one by name, a new
//! one with the addresses that were seen.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    change::{Change, extended},
    group::Group,
    ports::{by_address, known},
    reading,
    source::Sources,
};
use crate::{
    draft::{Draft, Form, label, name_of, unresolvable},
    istio::{Kind, Object, ObjectId},
    model::{Host, Namespace},
    objects::{Key, Owner},
    registry::{Lookup, Registry},
    settings::Matching,
};

/// An object as it could be.
pub(super) enum Candidate {
    New(Draft),
    Changed(Box<Change>, Audience),
}

/// Who may get what a change adds to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Those who need it.
    Users,
    /// Whoever sees the object.
    All,
}

impl Candidate {
    /// The object that it changes.
    pub(super) fn changed(&self) -> Option<&ObjectId> {
        match self {
            Self::New(_) => None,
            Self::Changed(change, _) => Some(&change.id),
        }
    }

    /// None if Istio would refuse it or warn of it.
    pub(super) fn object(&self) -> Option<Object> {
        match self {
            Self::New(draft) => reading::object(draft),
            Self::Changed(change, _) => Some(change.object.clone()),
        }
    }
}

/// What may be suggested for a group, best first. None is a change of what is in `fixed`.
pub(super) fn candidates(
    registry: &mut Registry,
    group: &Group<'_>,
    (sources, fixed): (&Sources, &BTreeSet<ObjectId>),
) -> Vec<Candidate> {
    let lookup = registry.lookup();
    let new = |forms: &[Form], is_by_name| -> Vec<Candidate> {
        let drafts = forms
            .iter()
            .map(|form| draft(&lookup, group, (*form, is_by_name)));
        drafts.map(Candidate::New).collect()
    };
    if group.host.as_ref().is_some_and(Host::is_wildcard) {
        return new(&[Form::Below], true);
    }
    let near = near(&lookup, group).into_iter().filter(|id| !fixed.contains(id));
    let changes: Vec<_> = near
        .filter_map(|id| changed(&lookup, group, (&id, sources)))
        .collect();
    let changed = |audience| {
        changes
            .iter()
            .map(move |change| Candidate::Changed(change.clone(), audience))
    };
    let by_name = match (&group.host, lookup.facts.settings.matching) {
        (Some(_), Matching::Declared) => new(&[Form::Resolved, Form::Declared], true),
        // A name does not narrow anything there: only addresses do.
        (Some(_), Matching::Istio) => new(&[Form::Declared], true),
        (None, _) => Vec::new(),
    };
    let mut candidates: Vec<_> = changed(Audience::Users).chain(by_name).collect();
    // An object is changed for everybody who sees it before an address stands in for a name.
    let is_for_all = |it: &Candidate| matches!(it, Candidate::Changed(change, _) if change.is_for_all());
    candidates.extend(changed(Audience::All).filter(is_for_all));
    candidates.extend(new(&[Form::Declared], false));
    candidates
}

/// The ServiceEntries that come near: those that explanations name, then all that have the host.
fn near(lookup: &Lookup<'_>, group: &Group<'_>) -> Vec<ObjectId> {
    let named = group.flows.iter().filter_map(|flow| flow.why.object().cloned());
    let state = group.host.as_ref().and_then(|host| lookup.states.get(host));
    let offered = state
        .into_iter()
        .flat_map(|state| &state.offers)
        .map(|offer| offer.owner.id());
    let mut near: Vec<_> = named.filter(|id| id.kind == Kind::ServiceEntry).collect();
    near.sort();
    let mut seen = BTreeSet::new();
    near.extend(offered.filter(|id| id.kind == Kind::ServiceEntry));
    near.retain(|id| seen.insert(id.clone()));
    near
}

fn changed(
    lookup: &Lookup<'_>,
    group: &Group<'_>,
    (id, sources): (&ObjectId, &Sources),
) -> Option<Box<Change>> {
    let objects = lookup.facts.objects;
    let before = objects.entries.get(&Key::new(&id.namespace, &id.name))?;
    let default = &objects.mesh(&lookup.facts.settings.revision).default_export_to;
    let after = extended(before, group, default)?;
    Change::new(before, after, sources.get(id)).map(Box::new)
}

fn draft(lookup: &Lookup<'_>, group: &Group<'_>, (form, is_by_name): (Form, bool)) -> Draft {
    let addresses = group.addresses();
    let host = group.host.as_ref().filter(|_| is_by_name);
    let (host, base) = match (host, addresses.first()) {
        (Some(host), _) => (host.to_string(), name_of(host.as_str())),
        (None, Some(first)) => {
            let label = label(*first);
            let base = match addresses.len() {
                1 => label.clone(),
                more => format!("{label}-and-{}-more", more - 1),
            };
            (unresolvable(&label), base)
        }
        (None, None) => unreachable!("each flow of a group has an address"),
    };
    let namespace = group.owner();
    Draft {
        name: free_name(lookup, &namespace, &base),
        namespace,
        host,
        form,
        ports: group.protocols(|port| {
            let protocol = known(lookup, group.host.as_ref(), port);
            if form == Form::Declared {
                by_address(protocol)
            } else {
                protocol
            }
        }),
        addresses: addresses.into_iter().map(IpNet::from).collect(),
        users: group.namespaces(),
    }
}

/// A name that no ServiceEntry of the namespace has.
fn free_name(lookup: &Lookup<'_>, namespace: &Namespace, base: &str) -> String {
    let entries = &lookup.facts.objects.entries;
    let mut names = [base.to_owned()]
        .into_iter()
        .chain((2..).map(|number| format!("{base}-{number}")));
    let is_free = |name: &String| !entries.contains_key(&Key::new(namespace, name));
    names.find(is_free).expect("there are more numbers than entries")
}

/// A Service that has the host: it is no ServiceEntry's to say how it is reached.
pub(super) fn service(registry: &mut Registry, group: &Group<'_>) -> Option<ObjectId> {
    let lookup = registry.lookup();
    let state = lookup.states.get(group.host.as_ref()?)?;
    let mut owners = state.offers.iter().map(|offer| &offer.owner);
    owners
        .find(|owner| matches!(owner, Owner::Service(_)))
        .map(Owner::id)
}
