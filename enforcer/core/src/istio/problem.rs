//! What is wrong with a document, and where.

use std::fmt;

use super::object::ObjectId;
use crate::yaml::Field;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the document.
    pub field: Field,
    /// Where in the file, counted from 1; None if it was not read from a file.
    pub line: Option<u32>,
    /// What, as Istio's or Kubernetes' message where they have one.
    pub message: String,
}

/// `line 7: spec.hosts: Required value`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.field.steps().is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Why a document is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", first(.errors))]
pub struct Invalid {
    /// The object that it would be, if it identifies one.
    pub id: Option<ObjectId>,
    /// At least one.
    pub errors: Vec<Problem>,
    /// What else is suspicious.
    pub warnings: Vec<Problem>,
}

fn first(errors: &[Problem]) -> String {
    match errors {
        [] => String::new(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}
