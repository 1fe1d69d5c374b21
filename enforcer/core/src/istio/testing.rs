//! What the tests of every kind ask.

use super::{Object, Reading, read};
use crate::yaml;

fn read_text(text: &str) -> Reading {
    let documents = yaml::split(text);
    let [document] = &documents[..] else {
        panic!("not one document: {text}")
    };
    read(&document.parse().unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// The object in `text`, which is valid, and its warnings.
pub(super) fn object(text: &str) -> (Object, Vec<String>) {
    match read_text(text) {
        Reading::Valid(object, warnings) => {
            let warnings = warnings.into_iter().map(|warning| warning.message);
            (object, warnings.collect())
        }
        other => panic!("{other:?}: {text}"),
    }
}

/// `text` has exactly these errors, in any order; none means that it is valid.
pub(super) fn check(text: &str, errors: &[&str]) {
    let mut found: Vec<_> = match read_text(text) {
        Reading::Valid(..) => Vec::new(),
        Reading::Invalid(invalid) => invalid.errors.into_iter().map(|error| error.message).collect(),
        Reading::Skipped => panic!("skipped: {text}"),
    };
    let mut expected = errors.to_vec();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected, "{text}");
}
