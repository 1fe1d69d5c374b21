//! The line of a field.
//!
//! A document is read a second time for it, with its positions: only documents with something wrong need it.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;

use super::{Document, Field, Step};

/// The lines of a document's fields.
#[derive(Debug)]
pub struct Lines {
    first_line: u32,
    line: u32,
    root: Option<Spanned<Located>>,
}

/// A value reduced to where its parts are.
#[derive(Debug)]
enum Located {
    Mapping(Vec<(Spanned<String>, Spanned<Located>)>),
    Sequence(Vec<Spanned<Located>>),
    Text(String),
    Other,
}

impl Document<'_> {
    /// The lines of its fields; of a document that is not YAML only its first.
    pub fn lines(&self) -> Lines {
        Lines {
            first_line: self.first_line,
            line: self.line,
            root: self.deserialize().ok(),
        }
    }
}

impl Lines {
    /// The line of the field, or of the innermost part of the document on the way to it, if it is absent.
    pub fn of(&self, field: &Field) -> u32 {
        let (found, rest, embedded) = self.descend(field.steps());
        match embedded {
            // The field is in a document within a text: a block scalar's content begins on its own line. A text
            // within that text is only a text.
            Some(text) if !rest.is_empty() => Document::embedded(text, found).lines().descend(rest).0,
            _ => found,
        }
    }

    /// The line reached, the steps that could not be followed, and the text where they end.
    fn descend<'s>(&self, mut steps: &'s [Step]) -> (u32, &'s [Step], Option<&str>) {
        let Some(mut at) = self.root.as_ref() else {
            return (self.line, steps, None);
        };
        let mut line = self.line;
        while let [step, rest @ ..] = steps {
            let next = match (&at.value, step) {
                (Located::Mapping(entries), Step::Key(key)) => entries
                    .iter()
                    .find(|(entry, _)| entry.value == *key)
                    .map(|(entry, value)| (self.line_of(entry), value)),
                (Located::Sequence(elements), Step::Index(index)) => elements
                    .get(*index)
                    .map(|element| (self.line_of(element), element)),
                (Located::Text(text), _) => return (self.line_of(at), steps, Some(text)),
                _ => None,
            };
            let Some((next_line, next)) = next else { break };
            line = next_line;
            at = next;
            steps = rest;
        }
        (line, steps, None)
    }

    fn line_of<T>(&self, spanned: &Spanned<T>) -> u32 {
        match u32::try_from(spanned.referenced.line()) {
            Ok(line @ 1..) => self.first_line.saturating_add(line - 1),
            _ => self.line,
        }
    }
}

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LocatedVisitor)
    }
}

struct LocatedVisitor;

impl<'de> Visitor<'de> for LocatedVisitor {
    type Value = Located;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Located, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Located::Mapping(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Located, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element()? {
            elements.push(element);
        }
        Ok(Located::Sequence(elements))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Located, E> {
        Ok(Located::Text(text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_unit<E: Error>(self) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_none<E: Error>(self) -> Result<Located, E> {
        Ok(Located::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Located, D::Error> {
        deserializer.deserialize_any(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::split;

    fn check(text: &str, steps: &[Step], line: u32) {
        let field: Field = steps.iter().cloned().collect();
        let documents = split(text);
        assert_eq!(documents.last().unwrap().lines().of(&field), line, "{field}");
    }

    fn key(key: &str) -> Step {
        Step::Key(key.to_owned())
    }

    #[test]
    fn field_stands_where_its_key_does() {
        let text = "x: 1\n---\n# c\nspec:\n  hosts:\n  - a\n  - b\n  ports: [{name: x,\n    number: 1}]\n";
        check(text, &[], 4);
        check(text, &[key("spec")], 4);
        check(text, &[key("spec"), key("hosts")], 5);
        check(text, &[key("spec"), key("hosts"), Step::Index(1)], 7);
        check(
            text,
            &[key("spec"), key("ports"), Step::Index(0), key("number")],
            9,
        );
    }

    #[test]
    fn absent_field_stands_where_it_ought_to() {
        let text = "\nspec:\n  hosts: []\n";
        check(text, &[key("spec"), key("hosts"), Step::Index(4)], 3);
        check(text, &[key("spec"), key("ports")], 2);
        check(text, &[key("metadata"), key("name")], 2);
    }

    #[test]
    fn field_of_a_document_within_a_text_is_found() {
        let text = "data:\n  mesh: |-\n    a: 1\n    b:\n      mode: x\n";
        check(text, &[key("data"), key("mesh"), key("b"), key("mode")], 5);
        check(
            "data:\n  mesh: 'a: 1'\n",
            &[key("data"), key("mesh"), key("a")],
            2,
        );
    }
}
