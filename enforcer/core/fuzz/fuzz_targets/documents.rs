//! Any text as a file: every record is consistent, and a set of files takes it and lets it go.

#![no_main]

use enforcer_core::documents::{Documents, Judgement, check};
use libfuzzer_sys::fuzz_target;

/// A file that was good before, so that there is something to keep.
const BEFORE: &str =
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.com]}\n";

fuzz_target!(|text: &str| {
    for record in check("f", text) {
        assert_eq!(record.errors.is_empty(), record.verdict == Judgement::Valid);
    }
    let mut documents = Documents::default();
    documents.set("f", Some(BEFORE));
    documents.set("f", Some(text));
    let held = documents.len();
    assert!(
        documents.set("f", Some(text)).is_empty(),
        "the same text changes nothing"
    );
    assert_eq!(documents.len(), held);
    documents.problems();
    documents.set("f", None);
    assert!(documents.is_empty());
});
