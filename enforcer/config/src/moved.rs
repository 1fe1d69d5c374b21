//! Keys that were elsewhere in an earlier version: they still count, with a warning that names the new place.
//!
//! The raw types keep the old key, out of the schema; a row here says where it is now. `keys.txt` lists every key there
//! ever was, so that none goes without a row.

use super::{
    error::{ErrorKind, Findings},
    raw::{At, Raw},
};

/// A key that has moved. Both are paths, as in `dns.servers`.
pub(super) struct Moved {
    pub(super) old: &'static str,
    pub(super) new: &'static str,
    /// Whether the new key is there. To be asked before another old key fills it.
    is_given: fn(&Raw) -> bool,
    /// Takes the value from the old place to the new one; and is told whether the new key was given.
    take: fn(&mut Raw, bool) -> Option<Taken>,
}

/// What became of an old key that was in the file, at this line.
enum Taken {
    Moved(Option<u64>),
    /// The new key is there too.
    Twice(Option<u64>),
    /// Another old key has moved to the same place, with another value.
    Contradicts(Option<u64>),
}

pub(super) const MOVED: [Moved; 2] = [
    Moved {
        old: "pods.node",
        new: "node",
        is_given: |raw| raw.node.is_some(),
        take: |raw, is_given| {
            let old = raw.pods.as_mut().and_then(|pods| pods.node.take());
            take(old, &mut raw.node, is_given)
        },
    },
    Moved {
        old: "registry.kubernetes.node",
        new: "node",
        is_given: |raw| raw.node.is_some(),
        take: |raw, is_given| {
            let registry = raw.registry.as_mut();
            let kubernetes = registry.and_then(|registry| registry.kubernetes.as_mut());
            let old = kubernetes.and_then(|kubernetes| kubernetes.node.take());
            take(old, &mut raw.node, is_given)
        },
    },
];

fn take<T: PartialEq>(old: Option<At<T>>, new: &mut Option<At<T>>, is_given: bool) -> Option<Taken> {
    let old = old?;
    let line = old.line;
    Some(match new {
        Some(_) if is_given => Taken::Twice(line),
        Some(there) if there.value != old.value => Taken::Contradicts(line),
        Some(_) => Taken::Moved(line),
        None => {
            *new = Some(old);
            Taken::Moved(line)
        }
    })
}

/// Puts the values of old keys where the new ones are.
pub(super) fn settle(raw: &mut Raw, findings: &mut Findings) {
    let given: Vec<_> = MOVED.iter().map(|moved| (moved.is_given)(raw)).collect();
    for (Moved { old, new, take, .. }, is_given) in MOVED.iter().zip(given) {
        match take(raw, is_given) {
            None => {}
            Some(Taken::Moved(line)) => {
                findings.warn(
                    line,
                    format!("{old} has moved: write `{new}` instead; it still counts, and a later version refuses it"),
                );
            }
            Some(Taken::Twice(line)) => findings.add(line, ErrorKind::Twice { old, new }),
            Some(Taken::Contradicts(line)) => findings.value(
                old,
                line,
                format!("has moved to `{new}`, and contradicts another key that has; write `{new}` alone"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use serde_json::Value;

    use super::MOVED;
    use crate::{Config, json_schema};

    /// Every key that a version has had, a line each; `BLESS=1` adds those that are new.
    const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/keys.txt");

    /// The paths of the schema's keys. Those of list items are their list's.
    fn keys() -> BTreeSet<String> {
        fn walk(at: &Value, (path, whole): (&str, &Value), keys: &mut BTreeSet<String>) {
            if let Some(name) = at["$ref"].as_str() {
                let name = name.trim_start_matches("#/$defs/");
                walk(&whole["$defs"][name], (path, whole), keys);
            }
            for (key, value) in at["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}{key}");
                walk(value, (&format!("{path}."), whole), keys);
                keys.insert(path);
            }
            for list in ["anyOf", "oneOf", "allOf"] {
                let choices = at[list].as_array().into_iter().flatten();
                choices.for_each(|choice| walk(choice, (path, whole), keys));
            }
            if at["items"].is_object() {
                walk(&at["items"], (path, whole), keys);
            }
        }
        let schema: Value = serde_json::to_value(json_schema()).unwrap();
        let mut keys = BTreeSet::new();
        walk(&schema, ("", &schema), &mut keys);
        keys
    }

    #[test]
    fn no_key_of_any_version_is_gone_without_a_place_where_it_has_moved() {
        let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate.md");
        let guide = fs::read_to_string(guide).unwrap();
        let there = keys();
        let written = fs::read_to_string(KEYS).unwrap();
        let mut known: BTreeSet<String> = written.lines().map(str::to_owned).collect();
        let moved: BTreeSet<_> = MOVED.iter().map(|moved| moved.old.to_owned()).collect();
        for key in &known {
            assert!(
                there.contains(key) != moved.contains(key),
                "{key} is neither a key nor has it moved, or it is both"
            );
        }
        for moved in &MOVED {
            assert!(
                there.contains(moved.new),
                "{} has moved to no key: {}",
                moved.old,
                moved.new
            );
            assert!(known.contains(moved.old), "no version has had {}", moved.old);
            assert!(
                guide.contains(&format!("`{}`", moved.old)),
                "docs/operate.md does not name {}",
                moved.old
            );
        }
        known.extend(there);
        let all: String = known.iter().map(|key| format!("{key}\n")).collect();
        if std::env::var_os("BLESS").is_some() {
            fs::write(KEYS, &all).unwrap();
        }
        assert_eq!(
            all,
            fs::read_to_string(KEYS).unwrap(),
            "BLESS=1 adds new keys to {KEYS}"
        );
    }

    /// What a text comes to: its warnings, or its errors.
    fn check(text: &str, expected: Result<(&str, &[&str]), &[&str]>) {
        let parsed = Config::parse(text, Path::new("e.yaml"));
        match (parsed, expected) {
            (Ok(config), Ok((node, warnings))) => {
                let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
                assert_eq!(said, warnings, "{text}");
                let pods = config.pods.and_then(|pods| pods.node);
                let kubernetes = config.kubernetes.and_then(|kubernetes| kubernetes.node);
                assert_eq!(
                    (pods.as_deref(), kubernetes.as_deref()),
                    (Some(node), Some(node)),
                    "{text}"
                );
            }
            (Err(errors), Err(expected)) => {
                let said = errors.to_string();
                assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{text}");
            }
            (parsed, _) => panic!("{text}: {parsed:?}"),
        }
    }

    const BOTH: &str = "registry: {kubernetes: {}}\npods: {}\n";
    const OF_PODS: &str =
        "3: pods.node has moved: write `node` instead; it still counts, and a later version refuses it";
    const OF_KUBERNETES: &str = "1: registry.kubernetes.node has moved: write `node` instead; it still counts, and a \
                                 later version refuses it";

    #[test]
    fn key_that_has_moved_counts_and_is_warned_of_with_its_line_and_the_new_place() {
        check(&format!("{BOTH}node: n1\n"), Ok(("n1", &[])));
        check(
            "registry: {kubernetes: {}}\npods:\n  node: n1\n",
            Ok(("n1", &[OF_PODS])),
        );
        check(
            "registry: {kubernetes: {node: n1}}\npods: {}\n",
            Ok(("n1", &[OF_KUBERNETES])),
        );
        check(
            "registry: {kubernetes: {node: n1}}\npods:\n  node: n1\n",
            Ok(("n1", &[OF_KUBERNETES, OF_PODS])),
        );
    }

    #[test]
    fn key_that_is_given_in_both_places_is_an_error_whatever_its_values() {
        for value in ["n1", "n2"] {
            check(
                &format!("node: n1\nregistry: {{kubernetes: {{}}}}\npods: {{node: {value}}}\n"),
                Err(&["e.yaml:3: pods.node has moved to `node`, which is given too: leave pods.node out"]),
            );
        }
    }

    #[test]
    fn two_old_keys_that_have_become_one_may_not_contradict_each_other() {
        check(
            "registry: {kubernetes: {node: n2}}\npods: {node: n1}\n",
            Err(&[
                "e.yaml:1: registry.kubernetes.node: has moved to `node`, and contradicts another key that has; \
                   write `node` alone",
            ]),
        );
    }
}
