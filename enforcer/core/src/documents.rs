//! The objects in a set of files: the last valid version of each.
//!
//! ```text
//! file, text -> documents -> Object or problem -> Update
//! ```
//!
//! If a document is invalid, its last good version stays in force, and other documents are not affected. If it does
//! not even identify its object, everything stays that its file held and that the new text does not mention. An
//! object that two files define is taken from the first by path.
//!
//! **Architecture Invariant:** the content depends on the history of each file and not on the order of the files,
//! and the cost of setting a file depends only on that file.

mod check;
mod file;
mod together;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use self::file::{Outcome, ReadBefore};
pub use self::{
    check::{Judgement, Record, Related, check},
    together::judge_together,
};
use crate::{
    istio::{Object, ObjectId, Problem},
    registry::Update,
    yaml::{Digest, Field},
};

/// What a set of files holds.
#[derive(Debug, Default)]
pub struct Documents {
    files: BTreeMap<Arc<str>, Held>,
    /// The files that define an object, in their order: the first is in force.
    claims: HashMap<ObjectId, BTreeMap<Arc<str>, Object>>,
    /// Objects that more than one file defines.
    contested: BTreeSet<ObjectId>,
}

/// What one file holds.
#[derive(Debug, Default)]
struct Held {
    objects: BTreeMap<ObjectId, Version>,
    problems: Vec<DocumentProblem>,
    warnings: Vec<DocumentProblem>,
}

/// What the text of a file says, read beside what the file held before.
#[derive(Debug)]
pub struct Read {
    file: Arc<str>,
    held: Held,
}

/// A good version of an object.
#[derive(Clone, Debug)]
struct Version {
    object: Object,
    /// Its line now, or when it was last valid.
    line: u32,
    /// The digest of its document, if that need not be read again.
    digest: Option<Digest>,
    /// Whether the file has another by now that is wrong.
    is_old: bool,
}

/// What is wrong with a file now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentProblem {
    /// The file.
    pub file: Arc<str>,
    /// Counted from 1; None if it is about the whole file.
    pub line: Option<u32>,
    /// The affected object, if it is known.
    pub object: Option<ObjectId>,
    /// What is wrong, with the field.
    pub message: String,
    /// Whether an older version of the affected objects stays in force.
    pub keeps_older: bool,
}

/// `registry/db.yaml:7: ServiceEntry frontend/db: spec.hosts: Required value (the last good version stays in force)`.
impl fmt::Display for DocumentProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        write!(f, ": {}", self.message)?;
        if self.keeps_older {
            f.write_str(" (the last good version stays in force)")?;
        }
        Ok(())
    }
}

impl Documents {
    /// Sets the text of a file, None if it is gone, and returns what has changed.
    pub fn set(&mut self, file: &str, text: Option<&str>) -> Vec<Update> {
        match text.map(|text| self.read(file, text)) {
            Some(read) => self.take(read),
            None => {
                let file: Arc<str> = file.into();
                let old = self.files.remove(&file).unwrap_or_default();
                self.claim(&file, &old, None)
            }
        }
    }

    /// Reads the text of a file, which changes nothing: files can be read beside each other.
    pub fn read(&self, file: &str, text: &str) -> Read {
        let file: Arc<str> = file.into();
        let nothing = Held::default();
        let held = Held::read(&file, text, self.files.get(&file).unwrap_or(&nothing));
        Read { file, held }
    }

    /// Takes over what was read, if the file was not set since, and returns what has changed.
    pub fn take(&mut self, Read { file, held }: Read) -> Vec<Update> {
        let old = self.files.remove(&file).unwrap_or_default();
        let updates = self.claim(&file, &old, Some(&held));
        self.files.insert(file, held);
        updates
    }

    /// Marks a file that exists but cannot be read, as text or at all: it keeps its objects.
    pub fn set_unreadable(&mut self, file: &str, reason: &str) {
        let file: Arc<str> = file.into();
        let held = self.files.entry(file.clone()).or_default();
        held.warnings.clear();
        held.objects
            .values_mut()
            .for_each(|version| version.is_old = true);
        held.problems = vec![DocumentProblem {
            file,
            line: None,
            object: None,
            message: reason.to_owned(),
            keeps_older: !held.objects.is_empty(),
        }];
    }

    /// The version of an object that is in force.
    pub fn object(&self, id: &ObjectId) -> Option<&Object> {
        self.claims.get(id)?.values().next()
    }

    /// The file and line of the version that is in force.
    pub fn place(&self, id: &ObjectId) -> Option<(&str, u32)> {
        let file = self.claims.get(id)?.keys().next()?;
        let version = self.files.get(file)?.objects.get(id)?;
        Some((file, version.line))
    }

    /// The number of objects in force.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether no object is in force.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// What is wrong now, by file and line.
    pub fn problems(&self) -> Vec<DocumentProblem> {
        let mut problems: Vec<_> = self
            .files
            .values()
            .flat_map(|held| held.problems.iter().cloned())
            .chain(self.contested.iter().flat_map(|id| self.disputes(id)))
            .collect();
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        problems
    }

    /// What is wrong now with one object, also where a file that has an older version of it cannot be understood.
    pub fn problems_of(&self, id: &ObjectId) -> Vec<DocumentProblem> {
        let of_file = |held: &'_ Held| {
            let is_old = held.objects.get(id).is_some_and(|version| version.is_old);
            let is_its = |problem: &&DocumentProblem| match &problem.object {
                Some(object) => object == id,
                None => is_old,
            };
            held.problems.iter().filter(is_its).cloned().collect::<Vec<_>>()
        };
        let disputes = self.contested.get(id).map(|id| self.disputes(id));
        let problems = self.files.values().flat_map(of_file);
        problems.chain(disputes.unwrap_or_default()).collect()
    }

    /// What is suspicious now, by file and line.
    pub fn warnings(&self) -> Vec<DocumentProblem> {
        let held = self.files.values();
        held.flat_map(|held| held.warnings.iter().cloned()).collect()
    }

    /// The files whose definition of the object is not in force.
    fn disputes(&self, id: &ObjectId) -> Vec<DocumentProblem> {
        let mut files = self.claims.get(id).into_iter().flat_map(BTreeMap::keys);
        let Some(first) = files.next() else {
            return Vec::new();
        };
        files
            .map(|file| DocumentProblem {
                file: file.clone(),
                line: self
                    .files
                    .get(file)
                    .and_then(|held| Some(held.objects.get(id)?.line)),
                object: Some(id.clone()),
                message: format!("{first} defines it too, comes first and is in force"),
                keeps_older: false,
            })
            .collect()
    }

    /// Replaces what `file` defines and returns what that changes.
    fn claim(&mut self, file: &Arc<str>, old: &Held, new: Option<&Held>) -> Vec<Update> {
        let mut updates = Vec::new();
        let new_objects = new.map(|held| &held.objects);
        let ids: BTreeSet<_> = old
            .objects
            .keys()
            .chain(new_objects.into_iter().flat_map(BTreeMap::keys))
            .collect();
        for id in ids {
            let files = self.claims.entry(id.clone()).or_default();
            let before = files.values().next().cloned();
            match new_objects.and_then(|objects| objects.get(id)) {
                Some(version) => files.insert(file.clone(), version.object.clone()),
                None => files.remove(file),
            };
            let after = files.values().next();
            if before.as_ref() != after {
                updates.push(match after {
                    Some(object) => Update::Apply(object.clone()),
                    None => Update::Delete(id.clone()),
                });
            }
            match files.len() {
                0 => {
                    self.claims.remove(id);
                    self.contested.remove(id);
                }
                1 => {
                    self.contested.remove(id);
                }
                _ => {
                    self.contested.insert(id.clone());
                }
            }
        }
        updates
    }
}

impl Held {
    fn read(file: &Arc<str>, text: &str, old: &Self) -> Self {
        let mut new = Self::default();
        let mut refused = Vec::new();
        let versions = old.objects.values();
        let before: ReadBefore<'_> = versions
            .filter_map(|version| Some((version.digest?, &version.object)))
            .collect();
        for entry in file::read(text, &before) {
            let (line, digest) = (entry.line, entry.digest);
            let object = match entry.outcome {
                Outcome::Skipped => None,
                Outcome::Valid(object) => {
                    let id = object.id();
                    new.insert(
                        file,
                        Version {
                            object,
                            line,
                            digest,
                            is_old: false,
                        },
                    );
                    Some(id)
                }
                Outcome::Invalid { id, errors } => {
                    refused.push((id.clone(), errors));
                    id
                }
                Outcome::NotYaml(error) => {
                    refused.push((None, vec![not_yaml(error.line, &error.message)]));
                    None
                }
            };
            let warnings = entry.warnings.iter();
            new.warnings
                .extend(warnings.map(|warning| describe(file, object.as_ref(), warning)));
        }
        new.keep(file, refused, old);
        new.problems.sort_by_key(|problem| problem.line);
        new
    }

    /// Adds a good version, unless the file has one further up.
    fn insert(&mut self, file: &Arc<str>, version: Version) {
        let id = version.object.id();
        match self.objects.get(&id) {
            None => {
                self.objects.insert(id, version);
            }
            Some(first) => self.problems.push(DocumentProblem {
                file: file.clone(),
                line: Some(version.line),
                message: format!("line {} defines it too, comes first and is in force", first.line),
                object: Some(id),
                keeps_older: false,
            }),
        }
    }

    /// Keeps the last good versions of refused objects.
    fn keep(&mut self, file: &Arc<str>, refused: Vec<(Option<ObjectId>, Vec<Problem>)>, old: &Self) {
        let named: BTreeSet<_> = refused.iter().filter_map(|(id, _)| id.clone()).collect();
        let is_anything_nameless = refused.iter().any(|(id, _)| id.is_none());
        let mut kept = BTreeMap::new();
        for (id, version) in &old.objects {
            let is_concerned = is_anything_nameless || named.contains(id);
            if is_concerned && !self.objects.contains_key(id) {
                let old = Version {
                    is_old: true,
                    ..version.clone()
                };
                kept.insert(id.clone(), old);
            }
        }
        for (id, errors) in refused {
            let keeps_older = match &id {
                Some(id) => kept.contains_key(id),
                None => kept.keys().any(|id| !named.contains(id)),
            };
            for error in errors {
                self.problems.push(DocumentProblem {
                    keeps_older,
                    ..describe(file, id.as_ref(), &error)
                });
            }
        }
        self.objects.append(&mut kept);
    }
}

fn not_yaml(line: u32, message: &str) -> Problem {
    Problem {
        field: Field::default(),
        line: Some(line),
        message: format!("not YAML: {message}"),
    }
}

fn describe(file: &Arc<str>, object: Option<&ObjectId>, problem: &Problem) -> DocumentProblem {
    let bare = Problem {
        line: None,
        ..problem.clone()
    };
    DocumentProblem {
        file: file.clone(),
        line: problem.line,
        object: object.cloned(),
        message: bare.to_string(),
        keeps_older: false,
    }
}

#[cfg(test)]
mod tests;
