//! YAML text to documents and their values, with their lines.
//!
//! `text -> split -> Document -> parse -> serde_json::Value`, `Document -> lines -> line of a field` for the few
//! documents with something to report, and `serde_json::Value -> written -> text`. A stream is split by its markers before it is parsed, so that an error in one
//! document does not affect others.
//!
//! It must not take unbounded time or memory for any text: sizes, depth and the replay of aliases are limited.

mod field;
mod lines;
mod split;
mod written;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

pub use self::field::{Field, Step};
pub use self::lines::Lines;
pub use self::split::{Document, split};
pub(crate) use self::written::written;

/// Longest document, in bytes. A list of 50,000 entries is two thirds as long.
pub const MAX_DOCUMENT_BYTES: usize = 32 << 20;
/// Deepest nesting; no Kubernetes object is nearly as deep.
const MAX_DEPTH: usize = 64;
/// Most scalars and collections in a document; an entry has about 40.
const MAX_NODES: usize = 4_000_000;
/// Most events that all aliases together may expand to.
const MAX_REPLAYED_EVENTS: usize = 100_000;

/// Why a document is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// In the file, counted from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// A digest of a document's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

impl Document<'_> {
    /// The digest of the text: two documents with the same digest are equal, except for their lines.
    pub fn digest(&self) -> Digest {
        let halves = [1_u8, 2].map(|half| {
            let mut hasher = DefaultHasher::new();
            (half, self.text).hash(&mut hasher);
            hasher.finish()
        });
        Digest(halves)
    }

    /// The value, `Null` for a document without content.
    ///
    /// # Errors
    /// If the document is not YAML or breaks a limit.
    pub fn parse(&self) -> Result<Value, SyntaxError> {
        self.deserialize()
    }

    fn deserialize<T: serde::de::DeserializeOwned>(&self) -> Result<T, SyntaxError> {
        if self.text.len() > MAX_DOCUMENT_BYTES {
            return Err(SyntaxError {
                line: self.line,
                message: format!("the document is longer than {} MiB", MAX_DOCUMENT_BYTES >> 20),
            });
        }
        let options = serde_yaml::options! {
            budget: serde_yaml::budget! {
                max_depth: MAX_DEPTH,
                max_nodes: MAX_NODES,
                max_events: 3 * MAX_NODES,
                max_total_scalar_bytes: MAX_DOCUMENT_BYTES,
                // The content after the `...` of a document is another document.
                max_documents: 2,
            },
            alias_limits: serde_yaml::alias_limits! {
                max_total_replayed_events: MAX_REPLAYED_EVENTS,
            },
            // As the YAML of Kubernetes, which is 1.1.
            legacy_octal_numbers: true,
            non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::AsString,
            with_snippet: false,
        };
        serde_yaml::from_str_with_options(self.text, options).map_err(|error| self.syntax_error(&error))
    }

    fn syntax_error(&self, error: &serde_yaml::Error) -> SyntaxError {
        let message = error.without_snippet().to_string();
        let location = error.location().filter(|location| location.line() > 0);
        let Some(location) = location else {
            return SyntaxError {
                line: self.line,
                message,
            };
        };
        // The parser counts from the document's beginning.
        let suffix = format!(" at line {}, column {}", location.line(), location.column());
        let line = u32::try_from(location.line()).unwrap_or(u32::MAX);
        SyntaxError {
            line: self.first_line.saturating_add(line - 1),
            message: message.strip_suffix(&suffix).unwrap_or(&message).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Value>, SyntaxError> {
        split(text).iter().map(Document::parse).collect()
    }

    #[test]
    fn exploding_aliases_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let alias = format!("*a{}", level - 1);
            let aliases = vec![alias; 10].join(", ");
            text += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        let error = parse(&text).unwrap_err();
        assert!(error.message.contains("alias"), "{error}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for unit in ["[", "{a: ", "- ", "? "] {
            assert!(parse(&unit.repeat(100_000)).is_err(), "{unit}");
        }
        let lines: String = (0..5_000)
            .map(|depth| format!("{}a:\n", " ".repeat(depth)))
            .collect();
        assert!(parse(&lines).is_err());
    }

    #[test]
    fn document_that_is_too_long_is_refused() {
        let text = "a".repeat(MAX_DOCUMENT_BYTES + 1);
        assert!(parse(&text).unwrap_err().message.contains("longer than 32 MiB"));
    }

    #[test]
    fn errors_carry_the_line_in_the_file() {
        let error = parse("a: b\n---\n# comment\nc: [d\ne: f\n").unwrap_err();
        assert_eq!(error.line, 5);
        assert!(!error.message.contains("line"), "{error}");
        assert_eq!(parse("a: b\n---\nc:\n\td: e\n").unwrap_err().line, 4);
    }

    #[test]
    fn duplicate_keys_are_refused() {
        assert_eq!(parse("a: 1\nb: 2\na: 3\n").unwrap_err().line, 3);
    }

    #[test]
    fn scalars_are_those_of_kubernetes() {
        let values = parse("a: 80\nb: '80'\nc: yes\nd: 0x50\ne: ~\nf: .inf\n1: x\n").unwrap();
        let expected =
            serde_json::json!({"a": 80, "b": "80", "c": true, "d": 80, "e": null, "f": ".inf", "1": "x"});
        assert_eq!(values, [expected]);
    }
}
