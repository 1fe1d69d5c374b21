//! The reported state of each object of one source, so that each change is reported once.
//!
//! `Document -> is it news? -> istio::read -> Change`. An object that has become invalid keeps its last valid
//! version. Events may arrive twice or out of order: the newest version of each object counts. A list is trusted
//! whatever its versions are, because a cluster that was restored from a backup has lower ones.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use enforcer_core::istio::{self, Object, ObjectId, Reading};
use serde_json::Value;

use super::{
    document::{Document, Head},
    source::Source,
};
use crate::kept::Kept;

/// A change of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It exists and is valid. With its uid.
    Set(Object, String),
    /// It is gone, or no longer part of the registry.
    Gone(ObjectId),
    /// It exists and is invalid.
    Rejected(Rejection),
}

/// An object that is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    pub(super) id: ObjectId,
    pub(super) uid: String,
    pub(super) api_version: String,
    /// All problems in one line.
    pub(super) message: String,
    /// Whether an older version of it stays in force.
    pub(super) keeps_older: bool,
}

/// How many removed objects are remembered, for events that arrive late.
const TOMBSTONES: usize = 256;

/// Namespace and name.
type Key = (Box<str>, Box<str>);

#[derive(Debug)]
pub(super) struct Store {
    source: Source,
    /// The index of the API version that is read.
    pub(super) served: usize,
    /// The newest version of an object that was processed, including those of an earlier run: a server that has
    /// reached it has nothing older than the known state.
    newest: Option<u64>,
    /// The same of the present list alone.
    newest_listed: Option<u64>,
    /// Up to which version everything was processed: while a list arrives, what is older may be to come.
    followed: Option<u64>,
    objects: HashMap<Key, Entry>,
    tombstones: VecDeque<(Key, u64)>,
    /// Counts the lists; an object that the present one has is marked with its number.
    list: u32,
    is_listing: bool,
    hasher: RandomState,
    /// Where valid objects are kept for the next boot.
    kept: Option<Arc<Kept>>,
}

#[derive(Debug, Default)]
struct Entry {
    version: Option<u64>,
    list: u32,
    is_in_force: bool,
    /// A digest of the problem that was last reported.
    problem: Option<u64>,
}

impl Store {
    pub(super) fn new(source: Source, newest: Option<u64>) -> Self {
        Self {
            source,
            served: 0,
            newest,
            newest_listed: None,
            followed: None,
            objects: HashMap::new(),
            tombstones: VecDeque::new(),
            list: 0,
            is_listing: false,
            hasher: RandomState::new(),
            kept: None,
        }
    }

    /// The same, which keeps what it has for the next boot.
    pub(super) fn keeping(self, kept: Option<Arc<Kept>>) -> Self {
        Self { kept, ..self }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The newest version of an object that is known, or was.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Up to which version nothing of the collection is missing; None before the first list.
    pub(super) fn followed(&self) -> Option<u64> {
        self.followed
    }

    /// How many objects are in force, and how many are rejected.
    pub(super) fn counts(&self) -> (usize, usize) {
        let entries = self.objects.values();
        entries.fold((0, 0), |(good, bad), entry| {
            let is_bad = entry.problem.is_some();
            (good + usize::from(entry.is_in_force), bad + usize::from(is_bad))
        })
    }

    /// Begins a list, until [`Self::end`]. A list that was not ended has no effect.
    pub(super) fn begin(&mut self) {
        self.list = self.list.wrapping_add(1);
        self.is_listing = true;
        self.newest_listed = None;
    }

    /// The list, of this version, is complete: objects that it did not contain are gone.
    pub(super) fn end(&mut self, version: Option<u64>) -> Vec<Change> {
        self.is_listing = false;
        // A cluster that was restored from a backup will not reach its former versions.
        if version < self.newest {
            self.newest = self.newest_listed;
        }
        // A list has everything up to its own version, which may be that of another collection's object.
        self.followed = version.max(self.newest);
        self.tombstones.clear();
        let list = self.list;
        let gone: Vec<_> = self
            .objects
            .extract_if(|_, entry| entry.list != list)
            .map(|(key, _)| key)
            .collect();
        gone.iter()
            .map(|key| {
                self.keep(key, None);
                self.id(key)
            })
            .map(Change::Gone)
            .collect()
    }

    /// Processes an object that exists.
    pub(super) fn set(&mut self, document: Document) -> Option<Change> {
        let Document { head, body } = document;
        let key = key(&head);
        let version = head.version();
        self.note(version);
        self.newest_listed = self.newest_listed.max(version);
        let is_late = match self.objects.get(&key).map(|entry| entry.version) {
            Some(known) if self.is_listing => known.is_some() && known == version,
            Some(known) => version
                .zip(known)
                .is_some_and(|(version, known)| version <= known),
            None => !self.is_listing && self.died_after(&key, version),
        };
        if is_late {
            if let (true, Some(entry)) = (self.is_listing, self.objects.get_mut(&key)) {
                entry.list = self.list;
            }
            return None;
        }
        let body = body.map(|value| self.with_kind(value));
        let judged = judge(&body);
        match (&judged, &body) {
            (Ok(Some(_)), Ok(value)) => self.keep(&key, Some(value)),
            (Ok(None), _) => self.keep(&key, None),
            _ => {}
        }
        let entry = self.objects.entry(key).or_default();
        entry.version = version;
        entry.list = self.list;
        match judged {
            Ok(Some(object)) => {
                entry.is_in_force = true;
                entry.problem = None;
                Some(Change::Set(object, head.uid))
            }
            Ok(None) => {
                let was_known = std::mem::take(&mut entry.is_in_force) | entry.problem.take().is_some();
                was_known.then(|| Change::Gone(self.source.id(&head.namespace, &head.name)))
            }
            Err(message) => {
                let digest = Some(self.hasher.hash_one(&message));
                let was_said = std::mem::replace(&mut entry.problem, digest) == digest;
                let keeps_older = entry.is_in_force;
                (!was_said).then(|| {
                    Change::Rejected(Rejection {
                        id: self.source.id(&head.namespace, &head.name),
                        uid: head.uid,
                        api_version: self.source.api_version(self.served),
                        message,
                        keeps_older,
                    })
                })
            }
        }
    }

    /// Processes an object that is gone.
    pub(super) fn gone(&mut self, head: &Head) -> Option<Change> {
        let key = key(head);
        let version = head.version();
        self.note(version);
        let known = self.objects.get(&key).and_then(|entry| entry.version);
        if version.zip(known).is_some_and(|(version, known)| version < known) {
            return None;
        }
        if let Some(version) = version {
            self.tombstones.truncate(TOMBSTONES - 1);
            self.tombstones.push_front((key.clone(), version));
        }
        let entry = self.objects.remove(&key)?;
        self.keep(&key, None);
        let was_known = entry.is_in_force || entry.problem.is_some();
        was_known.then(|| Change::Gone(self.id(&key)))
    }

    fn note(&mut self, version: Option<u64>) {
        self.newest = self.newest.max(version);
        if !self.is_listing && self.followed.is_some() {
            self.followed = self.followed.max(version);
        }
    }

    fn id(&self, (namespace, name): &Key) -> ObjectId {
        self.source.id(namespace, name)
    }

    /// Keeps an object for the next boot, or does so no longer.
    fn keep(&self, (namespace, name): &Key, object: Option<&Value>) {
        let Some(kept) = &self.kept else { return };
        let key = (self.source.name.as_str(), &**namespace, &**name);
        match object {
            Some(object) => kept.set(key, object),
            None => kept.remove(key),
        }
    }

    /// Whether an object that is gone still existed after this version.
    fn died_after(&self, key: &Key, version: Option<u64>) -> bool {
        let tombstone = self.tombstones.iter().find(|(buried, _)| buried == key);
        tombstone.is_some_and(|(_, death)| version.is_some_and(|version| version <= *death))
    }

    /// Items of the built-in kinds do not contain their kind.
    fn with_kind(&self, mut value: Value) -> Value {
        if let Some(fields) = value.as_object_mut() {
            let kind = || Value::String(self.source.object_kind());
            fields.entry("kind").or_insert_with(kind);
            let version = || Value::String(self.source.api_version(self.served));
            fields.entry("apiVersion").or_insert_with(version);
        }
        value
    }
}

/// The object; None if it is not part of the registry; or its problems.
fn judge(body: &Result<Value, String>) -> Result<Option<Object>, String> {
    let value = body
        .as_ref()
        .map_err(|error| format!("cannot be decoded: {error}"))?;
    match istio::read(value) {
        Reading::Valid(object, _) => Ok(Some(object)),
        Reading::Skipped => Ok(None),
        Reading::Invalid(invalid) => {
            let errors: Vec<_> = invalid.errors.iter().map(ToString::to_string).collect();
            Err(errors.join("; "))
        }
    }
}

fn key(head: &Head) -> Key {
    (head.namespace.as_str().into(), head.name.as_str().into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::Config,
        sources::kube::{Settings, document::Event},
    };

    fn known() -> Store {
        let config = Config::parse("registry: {kubernetes: {}}", std::path::Path::new("c.yaml")).unwrap();
        let settings = Settings::new(config.kubernetes.unwrap(), None);
        Store::new(Source::all(&settings, "n1").remove(0), None)
    }

    fn event(what: &str, name: &str, version: u64, host: &str) -> Event {
        let object = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"namespace": "n", "name": name, "uid": "u", "resourceVersion": version.to_string()},
            "spec": {"hosts": [host], "ports": [{"number": 1, "name": "p", "protocol": "TCP"}]},
        });
        Event::read(json!({"type": what, "object": object}).to_string().as_bytes()).unwrap()
    }

    fn take(known: &mut Store, event: Event) -> Option<String> {
        let change = match event {
            Event::Set(document) => known.set(document),
            Event::Gone(head) => known.gone(&head),
            other => panic!("{other:?}"),
        };
        change.as_ref().map(said)
    }

    fn said(change: &Change) -> String {
        match change {
            Change::Set(Object::ServiceEntry(entry), _) => format!("{}={}", entry.meta.name, entry.hosts[0]),
            Change::Set(object, _) => panic!("{object:?}"),
            Change::Gone(id) => format!("{} gone", id.name),
            Change::Rejected(it) => {
                format!("{} bad{}", it.id.name, if it.keeps_older { ", kept" } else { "" })
            }
        }
    }

    /// Each line is an event and what is said because of it.
    fn check(known: &mut Store, lines: &[(&str, &str, u64, &str, Option<&str>)]) {
        for (what, name, version, host, expected) in lines {
            let said = take(known, event(what, name, *version, host));
            assert_eq!(said.as_deref(), *expected, "{what} {name} {version} {host}");
        }
    }

    #[test]
    fn event_that_comes_twice_or_late_changes_nothing() {
        check(
            &mut known(),
            &[
                ("ADDED", "a", 5, "a.com", Some("a=a.com")),
                ("ADDED", "a", 5, "a.com", None),
                ("MODIFIED", "a", 7, "b.com", Some("a=b.com")),
                ("MODIFIED", "a", 6, "c.com", None),
                ("DELETED", "a", 6, "c.com", None),
                ("DELETED", "a", 8, "b.com", Some("a gone")),
                ("DELETED", "a", 8, "b.com", None),
                ("MODIFIED", "a", 7, "b.com", None),
                ("ADDED", "a", 9, "d.com", Some("a=d.com")),
            ],
        );
    }

    #[test]
    fn object_that_becomes_invalid_keeps_its_last_good_version_and_is_reported_once() {
        check(
            &mut known(),
            &[
                ("ADDED", "a", 1, "*", Some("a bad")),
                ("MODIFIED", "a", 2, "*", None),
                ("MODIFIED", "a", 3, "a.com", Some("a=a.com")),
                ("MODIFIED", "a", 4, "*", Some("a bad, kept")),
                ("MODIFIED", "a", 5, "*", None),
                ("DELETED", "a", 6, "*", Some("a gone")),
            ],
        );
    }

    fn list(known: &mut Store, items: &[(&str, u64, &str)]) -> Vec<String> {
        known.begin();
        let mut all = Vec::new();
        for (name, version, host) in items {
            all.extend(take(known, event("ADDED", name, *version, host)));
        }
        let version = items.iter().map(|(_, version, _)| *version).max();
        all.extend(known.end(version).iter().map(said));
        all
    }

    #[test]
    fn list_takes_away_what_it_does_not_have_and_repeats_nothing() {
        let mut known = known();
        assert_eq!(
            list(&mut known, &[("a", 1, "a.com"), ("b", 2, "b.com")]),
            ["a=a.com", "b=b.com"]
        );
        assert_eq!(
            list(&mut known, &[("b", 2, "b.com"), ("c", 3, "c.com")]),
            ["c=c.com", "a gone"]
        );
        assert_eq!(known.counts(), (2, 0));
    }

    #[test]
    fn list_is_believed_although_its_versions_are_lower() {
        let mut known = known();
        list(&mut known, &[("a", 900, "a.com")]);
        assert_eq!(list(&mut known, &[("a", 4, "b.com")]), ["a=b.com"]);
        check(&mut known, &[("MODIFIED", "a", 5, "c.com", Some("a=c.com"))]);
    }

    #[test]
    fn newest_version_goes_back_with_a_complete_list_alone() {
        let mut known = known();
        list(&mut known, &[("a", 900, "a.com"), ("b", 3, "b.com")]);
        assert_eq!(known.newest(), Some(900));
        take(&mut known, event("DELETED", "a", 905, "a.com"));
        assert_eq!(known.newest(), Some(905));
        // What is in force is newer than what a list that breaks off has had.
        known.begin();
        take(&mut known, event("ADDED", "b", 3, "b.com"));
        assert_eq!(known.newest(), Some(905));
        // A list of a later version, whose objects are all older.
        known.begin();
        take(&mut known, event("ADDED", "b", 3, "b.com"));
        known.end(Some(950));
        assert_eq!(known.newest(), Some(905));
        list(&mut known, &[("b", 3, "b.com")]);
        assert_eq!(known.newest(), Some(3));
    }

    #[test]
    fn list_that_breaks_off_takes_nothing_away() {
        let mut known = known();
        list(&mut known, &[("a", 1, "a.com"), ("b", 2, "b.com")]);
        known.begin();
        assert_eq!(
            take(&mut known, event("ADDED", "c", 3, "c.com")),
            Some("c=c.com".to_owned())
        );
        assert_eq!(known.counts(), (3, 0));
        // What only the broken list had is held against the next one.
        assert_eq!(
            list(&mut known, &[("a", 1, "a.com"), ("b", 2, "b.com")]),
            ["c gone"]
        );
    }
}
