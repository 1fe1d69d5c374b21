//! Reads a JSON value by the names and types of its fields, and notes what does not fit.
//!
//! As in protobuf's JSON, an absent field and `null` are the type's default. A wrong type is an error like the API
//! server's, and the default replaces the value, so that reading never stops in the middle.

use std::rc::Rc;

use serde_json::Value;

use super::problem::Problem;
use crate::{
    model::Labels,
    yaml::{Field, Step},
};

/// What reading and the rules have found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// Something has the wrong type, so that rules about values would check defaults that nobody wrote.
    pub(super) is_mistyped: bool,
}

impl Findings {
    pub(super) fn error(&mut self, at: &Node<'_>, message: impl Into<String>) {
        self.errors.push(at.problem(message.into()));
    }

    pub(super) fn warning(&mut self, at: &Node<'_>, message: impl Into<String>) {
        self.warnings.push(at.problem(message.into()));
    }
}

/// A position in a document with what is there; `Null` if nothing is.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: Option<Rc<Link<'a>>>,
}

#[derive(Debug)]
struct Link<'a> {
    parent: Option<Rc<Link<'a>>>,
    step: Via<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Via<'a> {
    Key(&'a str),
    Index(usize),
}

/// A value together with its position.
#[derive(Clone, Debug)]
pub(super) struct Item<'a, T> {
    pub(super) at: Node<'a>,
    pub(super) value: T,
}

static ABSENT: Value = Value::Null;

impl<'a> Node<'a> {
    /// The document itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { value, path: None }
    }

    /// The same position with another value: the text there once it is parsed.
    pub(super) fn holding<'b>(&self, value: &'b Value) -> Node<'b>
    where
        'a: 'b,
    {
        Node {
            value,
            path: self.path.clone().map(|link| link as Rc<Link<'b>>),
        }
    }

    /// The field of that name.
    pub(super) fn get(&self, key: &'a str) -> Self {
        self.step(Via::Key(key), self.value.get(key).unwrap_or(&ABSENT))
    }

    fn step(&self, step: Via<'a>, value: &'a Value) -> Self {
        let link = Link {
            parent: self.path.clone(),
            step,
        };
        Self {
            value,
            path: Some(Rc::new(link)),
        }
    }

    /// Whether something is there that is not `null`.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    fn problem(&self, message: String) -> Problem {
        let mut steps = Vec::new();
        let mut link = self.path.as_deref();
        while let Some(Link { parent, step }) = link {
            steps.push(match *step {
                Via::Key(key) => Step::Key(key.to_owned()),
                Via::Index(index) => Step::Index(index),
            });
            link = parent.as_deref();
        }
        Problem {
            field: steps.into_iter().rev().collect::<Field>(),
            line: None,
            message,
        }
    }

    fn mistyped(&self, found: &mut Findings, expected: &str) {
        let is = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        found.is_mistyped = true;
        found.error(self, format!("must be of type {expected}: \"{is}\""));
    }

    /// A text; empty if absent.
    pub(super) fn text(&self, found: &mut Findings) -> &'a str {
        match self.value {
            Value::Null => "",
            Value::String(text) => text,
            _ => {
                self.mistyped(found, "string");
                ""
            }
        }
    }

    /// A text that may be absent.
    pub(super) fn optional_text(&self, found: &mut Findings) -> Option<Item<'a, &'a str>> {
        match self.value {
            Value::Null => None,
            Value::String(text) => Some(self.item(text.as_str())),
            _ => {
                self.mistyped(found, "string");
                None
            }
        }
    }

    fn item<T>(&self, value: T) -> Item<'a, T> {
        Item {
            at: self.clone(),
            value,
        }
    }

    /// The elements of a sequence, `null` ones included.
    pub(super) fn list(&self, found: &mut Findings) -> Vec<Self> {
        match self.value {
            Value::Null => Vec::new(),
            Value::Array(values) => {
                let values = values.iter().enumerate();
                values
                    .map(|(index, value)| self.step(Via::Index(index), value))
                    .collect()
            }
            _ => {
                self.mistyped(found, "array");
                Vec::new()
            }
        }
    }

    /// A sequence of texts; `null` is not one.
    pub(super) fn texts(&self, found: &mut Findings) -> Vec<Item<'a, &'a str>> {
        let mut texts = Vec::new();
        for element in self.list(found) {
            match element.value {
                Value::String(text) => texts.push(element.item(text.as_str())),
                _ => element.mistyped(found, "string"),
            }
        }
        texts
    }

    /// Whether a mapping is there; anything else that is there is an error.
    pub(super) fn is_mapping(&self, found: &mut Findings) -> bool {
        match self.value {
            Value::Null => false,
            Value::Object(_) => true,
            _ => {
                self.mistyped(found, "object");
                false
            }
        }
    }

    /// The entries of a mapping.
    pub(super) fn entries(&self, found: &mut Findings) -> Vec<(&'a str, Self)> {
        if !self.is_mapping(found) {
            return Vec::new();
        }
        let entries = self.value.as_object().into_iter().flatten();
        entries
            .map(|(key, value)| (key.as_str(), self.step(Via::Key(key), value)))
            .collect()
    }

    /// A mapping from text to text.
    pub(super) fn labels(&self, found: &mut Findings) -> Labels {
        let entries = self.entries(found);
        let entries = entries.iter();
        entries
            .map(|(key, value)| ((*key).to_owned(), value.text(found).to_owned()))
            .collect()
    }

    /// An integer; `80.0` is one, `"80"` is none, as the API server has it.
    pub(super) fn integer(&self, found: &mut Findings) -> Option<Item<'a, i64>> {
        match self.value {
            Value::Null => return None,
            Value::Number(number) => {
                let whole = number
                    .as_f64()
                    .filter(|float| float.fract() == 0.0 && float.abs() < 9e15);
                #[expect(clippy::cast_possible_truncation, reason = "the bound above fits")]
                if let Some(integer) = number.as_i64().or(whole.map(|float| float as i64)) {
                    return Some(self.item(integer));
                }
            }
            _ => {}
        }
        self.mistyped(found, "integer");
        None
    }

    /// A boolean; false if absent.
    pub(super) fn flag(&self, found: &mut Findings) -> bool {
        match self.value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            _ => {
                self.mistyped(found, "boolean");
                false
            }
        }
    }

    /// An enumeration by name or, as protobuf's JSON has it, by number; the first if absent. Names that are
    /// empty stand for numbers that are not in use.
    pub(super) fn choice(&self, found: &mut Findings, names: &[&str]) -> Choice<'a> {
        let index = match self.value {
            Value::Null => return Choice::Known(0),
            Value::Number(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            Value::String(text) => names.iter().position(|name| name == text),
            _ => {
                self.mistyped(found, "string");
                return Choice::Unknown(self.item(&ABSENT));
            }
        };
        let known = index.filter(|index| names.get(*index).is_some_and(|name| !name.is_empty()));
        if let Some(index) = known {
            return Choice::Known(index);
        }
        let supported: Vec<_> = names.iter().filter(|name| !name.is_empty()).collect();
        let message = format!(
            "Unsupported value: {}: supported values: {supported:?}",
            self.value
        );
        found.error(self, message);
        Choice::Unknown(self.item(self.value))
    }

    /// The value as it is.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }
}

/// What an enumeration says.
#[derive(Clone, Debug)]
pub(super) enum Choice<'a> {
    /// The number of a name.
    Known(usize),
    /// Something else; it has been noted as an error.
    Unknown(Item<'a, &'a Value>),
}

impl Choice<'_> {
    /// The number, or that of the first name.
    pub(super) fn or_first(&self) -> usize {
        match self {
            Self::Known(index) => *index,
            Self::Unknown(_) => 0,
        }
    }
}

impl<T> std::ops::Deref for Item<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
