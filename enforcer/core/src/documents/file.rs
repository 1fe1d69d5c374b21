//! The content of one file, document by document.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    istio::{self, Object, ObjectId, Problem, Reading},
    yaml::{Digest, Document, Field, SyntaxError, split},
};

/// Documents that had neither errors nor warnings when they were read before.
pub(super) type ReadBefore<'a> = HashMap<Digest, &'a Object>;

/// One object of a file, or a document that is not an object.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where it begins, counted from 1.
    pub(super) line: u32,
    pub(super) subject: Subject,
    pub(super) outcome: Outcome,
    /// What is suspicious about it.
    pub(super) warnings: Vec<Problem>,
    /// The digest of the whole document, if it is one object without errors and warnings.
    pub(super) digest: Option<Digest>,
}

/// The kind and name that a document gives itself; empty if it gives none.
#[derive(Debug, Default)]
pub(super) struct Subject {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The result of reading it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// No part of the registry.
    Skipped,
    Valid(Object),
    Invalid {
        id: Option<ObjectId>,
        errors: Vec<Problem>,
    },
    NotYaml(SyntaxError),
}

/// Every document of `text`, in order, and each item of a list. Documents in `before` are not read again.
pub(super) fn read(text: &str, before: &ReadBefore<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for document in split(text) {
        let digest = document.digest();
        if let Some(object) = before.get(&digest) {
            entries.push(Entry {
                line: document.line,
                subject: Subject::default(),
                outcome: Outcome::Valid((*object).clone()),
                warnings: Vec::new(),
                digest: Some(digest),
            });
            continue;
        }
        match document.parse() {
            Ok(Value::Null) => {}
            Ok(value) => read_document(&document, &value, &mut entries),
            Err(error) => entries.push(Entry {
                line: error.line,
                subject: Subject::default(),
                outcome: Outcome::NotYaml(error),
                warnings: Vec::new(),
                digest: None,
            }),
        }
    }
    entries
}

fn read_document(document: &Document<'_>, value: &Value, entries: &mut Vec<Entry>) {
    // Lines cost a second parse, so they are looked up only if there is something to report.
    let mut lines = None;
    for (way, object) in istio::unfold(value) {
        let mut line_of = |field: &Field| {
            let whole: Field = way.steps().iter().chain(field.steps()).cloned().collect();
            lines.get_or_insert_with(|| document.lines()).of(&whole)
        };
        let line = if way.steps().is_empty() {
            document.line
        } else {
            line_of(&Field::default())
        };
        let (outcome, mut warnings) = match istio::read(object) {
            Reading::Skipped => (Outcome::Skipped, Vec::new()),
            Reading::Valid(object, warnings) => (Outcome::Valid(object), warnings),
            Reading::Invalid(invalid) => {
                let istio::Invalid {
                    id,
                    mut errors,
                    warnings,
                } = invalid;
                locate(&mut errors, &mut line_of);
                (Outcome::Invalid { id, errors }, warnings)
            }
        };
        warnings.extend(istio::unknown(object));
        locate(&mut warnings, &mut line_of);
        let is_plain = way.steps().is_empty() && warnings.is_empty();
        let digest = (is_plain && matches!(outcome, Outcome::Valid(_))).then(|| document.digest());
        entries.push(Entry {
            line,
            subject: Subject::of(object, &outcome),
            outcome,
            warnings,
            digest,
        });
    }
}

fn locate(problems: &mut [Problem], line_of: &mut impl FnMut(&Field) -> u32) {
    for problem in problems {
        problem.line = Some(line_of(&problem.field));
    }
}

impl Subject {
    fn of(document: &Value, outcome: &Outcome) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = match outcome {
            Outcome::Valid(object) => Some(object.id()),
            Outcome::Invalid { id, .. } => id.clone(),
            Outcome::Skipped | Outcome::NotYaml(_) => None,
        };
        let (namespace, name) = match id {
            Some(id) => (id.namespace.to_string(), id.name),
            None => (
                text(&document["metadata"]["namespace"]),
                text(&document["metadata"]["name"]),
            ),
        };
        Self {
            api_version: text(&document["apiVersion"]),
            kind: text(&document["kind"]),
            namespace,
            name,
        }
    }
}
