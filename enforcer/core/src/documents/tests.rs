//! The rules by which files become objects, as stories of files that are set one after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A ServiceEntry; no host makes it invalid.
fn entry(name: &str, host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: {name}\nspec:\n  hosts: [{host}]\n"
    )
}

fn stream(documents: &[&str]) -> String {
    documents.join("---\n")
}

/// What a follower of the updates holds: hosts by name.
#[derive(Default)]
struct Follower {
    documents: Documents,
    held: BTreeMap<String, String>,
}

impl Follower {
    /// Sets a file and returns what changed: `+name host` or `-name`.
    fn set(&mut self, file: &str, text: Option<&str>) -> Vec<String> {
        let mut changes = Vec::new();
        for update in self.documents.set(file, text) {
            match update {
                Update::Apply(Object::ServiceEntry(entry)) => {
                    let (name, host) = (entry.meta.name.clone(), entry.hosts[0].to_string());
                    changes.push(format!("+{name} {host}"));
                    self.held.insert(name, host);
                }
                Update::Delete(id) => {
                    changes.push(format!("-{}", id.name));
                    assert!(self.held.remove(&id.name).is_some(), "{id} was held");
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(self.documents.len(), self.held.len());
        changes
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.documents.problems();
        problems.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn only_what_changes_is_told() {
    let mut files = Follower::default();
    let (a, b) = (entry("a", "a.com"), entry("b", "b.com"));
    assert_eq!(files.set("f", Some(&stream(&[&a, &b]))), ["+a a.com", "+b b.com"]);
    assert_eq!(files.set("f", Some(&stream(&["# moved\n", &b, &a]))), [""; 0]);
    assert_eq!(
        files.set("f", Some(&stream(&[&a, &entry("b", "c.com")]))),
        ["+b c.com"]
    );
    assert_eq!(files.set("f", Some(&a)), ["-b"]);
    assert_eq!(files.set("f", None), ["-a"]);
    assert_eq!(files.set("f", None), [""; 0]);
    assert!(files.documents.is_empty());
}

#[test]
fn wrong_document_keeps_its_last_good_version_and_harms_no_other() {
    let mut files = Follower::default();
    let (a, b) = (entry("a", "a.com"), entry("b", "b.com"));
    files.set("f", Some(&stream(&[&a, &b])));
    let changed = stream(&[&entry("a", ""), &entry("b", "c.com")]);
    assert_eq!(files.set("f", Some(&changed)), ["+b c.com"]);
    assert_eq!(
        files.problems(),
        [
            "f:6: ServiceEntry default/a: spec.hosts: service entry must have at least one host (the last good version stays in force)",
            "f:6: ServiceEntry default/a: spec.hosts: must have at least 1 items (the last good version stays in force)",
        ]
    );
    // Still there after another change that leaves it wrong; gone when the document goes.
    assert_eq!(files.set("f", Some(&entry("a", "'*'"))), ["-b"]);
    assert_eq!(files.set("f", Some("# empty\n")), ["-a"]);
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn wrong_document_that_was_never_good_is_not_there() {
    let mut files = Follower::default();
    assert_eq!(
        files.set("f", Some(&stream(&[&entry("a", ""), &entry("b", "b.com")]))),
        ["+b b.com"]
    );
    assert!(
        files
            .problems()
            .iter()
            .all(|problem| !problem.contains("stays in force"))
    );
    assert_eq!(
        files.set("f", Some(&stream(&[&entry("a", "a.com"), &entry("b", "b.com")]))),
        ["+a a.com"]
    );
    assert_eq!(files.problems(), [""; 0]);
}

#[test]
fn document_without_a_name_keeps_what_the_text_does_not_mention() {
    let mut files = Follower::default();
    let (a, b, c) = (entry("a", "a.com"), entry("b", "b.com"), entry("c", "c.com"));
    files.set("f", Some(&stream(&[&a, &b, &c])));
    for broken in ["kind: [\n", "kind: ServiceEntry\n", "a: &x *x\n"] {
        let text = stream(&[&a, broken, &entry("c", "d.com")]);
        files.set("f", Some(&text));
        assert_eq!(files.held["b"], "b.com", "{broken}");
        assert_eq!(files.held["c"], "d.com", "{broken}");
        assert!(files.problems()[0].ends_with("(the last good version stays in force)"));
    }
    assert_eq!(files.set("f", Some(&stream(&[&a, &entry("c", "d.com")]))), ["-b"]);
}

#[test]
fn half_of_a_file_that_is_being_written_takes_nothing_away() {
    let text = stream(&[&entry("a", "a.com"), &entry("b", "b.com"), &entry("c", "c.com")]);
    for length in 1..text.len() {
        let mut files = Follower::default();
        files.set("f", Some(&text));
        let cut = &text[..length];
        files.set("f", Some(cut));
        // Where the cut falls between two documents the rest is really not there.
        let names = cut.matches("  name: ").count();
        assert!(
            files.held.len() >= names.min(3),
            "cut at {length}: {:?}",
            files.held
        );
        assert_eq!(
            files
                .set("f", Some(&text))
                .iter()
                .filter(|change| change.starts_with('-'))
                .count(),
            0
        );
        assert_eq!(files.held.len(), 3);
    }
}

#[test]
fn file_that_cannot_be_read_keeps_what_it_held() {
    let mut files = Follower::default();
    files.set("f", Some(&entry("a", "a.com")));
    files.documents.set_unreadable("f", "it is not UTF-8");
    assert_eq!(
        files.problems(),
        ["f: it is not UTF-8 (the last good version stays in force)"]
    );
    assert_eq!(files.set("f", Some(&entry("a", "a.com"))), [""; 0]);
    assert_eq!(files.problems(), [""; 0]);
    files.documents.set_unreadable("g", "it is a loop");
    assert_eq!(files.problems(), ["g: it is a loop"]);
}

#[test]
fn object_of_two_files_comes_from_the_first_by_path() {
    let mut files = Follower::default();
    assert_eq!(files.set("b", Some(&entry("x", "b.com"))), ["+x b.com"]);
    assert_eq!(files.set("c", Some(&entry("x", "c.com"))), [""; 0]);
    assert_eq!(
        files.set("a", Some(&format!("\n{}", entry("x", "a.com")))),
        ["+x a.com"]
    );
    assert_eq!(
        files.problems(),
        [
            "b:1: ServiceEntry default/x: a defines it too, comes first and is in force",
            "c:1: ServiceEntry default/x: a defines it too, comes first and is in force",
        ]
    );
    assert_eq!(files.set("a", None), ["+x b.com"]);
    assert_eq!(files.set("b", Some("")), ["+x c.com"]);
    assert_eq!(files.problems(), [""; 0]);
    assert_eq!(files.set("c", None), ["-x"]);
}

#[test]
fn object_that_a_file_defines_twice_is_the_first() {
    let mut files = Follower::default();
    let text = stream(&[&entry("x", "a.com"), &entry("x", "b.com")]);
    assert_eq!(files.set("f", Some(&text)), ["+x a.com"]);
    assert_eq!(
        files.problems(),
        ["f:8: ServiceEntry default/x: line 1 defines it too, comes first and is in force"]
    );
}

#[test]
fn warnings_are_no_problems() {
    let mut files = Follower::default();
    files.set("f", Some(&entry("x", "'*a.com'")));
    assert_eq!(files.problems(), [""; 0]);
    let warnings = files.documents.warnings();
    assert_eq!(
        warnings[0].to_string(),
        "f:6: ServiceEntry default/x: spec.hosts[0]: partial wildcard \"*a.com\" not allowed"
    );
}

/// What a file may be set to: gone, or documents with few names, some of them wrong.
fn text() -> impl Strategy<Value = Option<String>> {
    let document = prop_oneof![
        4 => ("[abc]", "[xyz]").prop_map(|(name, host)| entry(&name, &format!("{host}.com"))),
        1 => "[abc]".prop_map(|name| entry(&name, "")),
        1 => Just("kind: [\n".to_owned()),
        1 => Just("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n".to_owned()),
    ];
    proptest::option::weighted(
        0.8,
        proptest::collection::vec(document, 0..4).prop_map(|documents| documents.join("---\n")),
    )
}

proptest! {
    #[test]
    fn order_between_files_does_not_matter(
        histories in proptest::collection::vec(proptest::collection::vec(text(), 0..4), 3),
        picks in proptest::collection::vec(0..3_usize, 16),
    ) {
        let mut one_by_one = Follower::default();
        for (file, history) in histories.iter().enumerate() {
            for text in history {
                one_by_one.set(&file.to_string(), text.as_deref());
            }
        }
        let mut mixed = Follower::default();
        let mut rest: Vec<_> = histories.iter().map(|history| history.iter()).collect();
        for file in picks.into_iter().chain([2, 1, 0, 2, 1, 0, 2, 1, 0, 2, 1, 0]) {
            if let Some(text) = rest[file].next() {
                mixed.set(&file.to_string(), text.as_deref());
            }
        }
        prop_assert_eq!(&one_by_one.held, &mixed.held);
        prop_assert_eq!(one_by_one.problems(), mixed.problems());
    }
}

#[test]
fn object_whose_newest_version_is_wrong_has_problems_and_others_of_its_file_have_none() {
    let mut files = Follower::default();
    files.set(
        "a",
        Some(&stream(&[&entry("one", "one.com"), &entry("two", "two.com")])),
    );
    let objects: Vec<_> = files.documents.claims.keys().cloned().collect();
    let id = |name: &str| objects.iter().find(|id| id.name == name).unwrap().clone();
    let problems = |files: &Follower, name: &str| files.documents.problems_of(&id(name)).len().min(1);
    assert_eq!((problems(&files, "one"), problems(&files, "two")), (0, 0));
    files.set("a", Some(&stream(&[&entry("one", ""), &entry("two", "two.com")])));
    assert_eq!((problems(&files, "one"), problems(&files, "two")), (1, 0));
    // Which of them the second document was meant to be, nobody knows.
    files.set("a", Some(&stream(&[&entry("one", "one.com"), "{\n"])));
    assert_eq!((problems(&files, "one"), problems(&files, "two")), (0, 1));
    files.documents.set_unreadable("a", "permission denied");
    assert_eq!((problems(&files, "one"), problems(&files, "two")), (1, 1));
    files.set(
        "a",
        Some(&stream(&[&entry("one", "one.com"), &entry("two", "two.com")])),
    );
    assert_eq!((problems(&files, "one"), problems(&files, "two")), (0, 0));
    files.set("b", Some(&entry("two", "other.com")));
    assert_eq!(
        (problems(&files, "one"), problems(&files, "two")),
        (0, 1),
        "two files have it"
    );
}
