//! `exportTo` of a ServiceEntry, a Service's annotation and the mesh's default.

use std::collections::BTreeSet;

use super::{
    name,
    node::{Findings, Item},
    object::ExportTo,
};
use crate::model::Namespace;

/// One element, taken as it is.
pub(super) fn parse(text: &str) -> ExportTo {
    match text {
        "*" => ExportTo::Everyone,
        "~" => ExportTo::Nobody,
        "." => ExportTo::Own,
        name => ExportTo::Namespace(Namespace::new(name)),
    }
}

/// E34 to E38 (`validateExportTo`).
pub(super) fn check(namespace: &Namespace, entries: &[Item<'_, &str>], found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for entry in entries {
        let key = if entry.value == "." {
            namespace.as_str()
        } else {
            entry.value
        };
        if seen.contains(key) {
            // E34, and E35 where the second of the two is the dot.
            let message = if key == entry.value {
                format!("duplicate entries in exportTo for entry {key}")
            } else {
                format!("duplicate entries in exportTo: . and current namespace {key}")
            };
            found.error(&entry.at, message);
        } else if matches!(key, "*" | "~") || name::is_label(key) {
            seen.insert(key);
        } else {
            // E36.
            let message = "only .,*, or a valid DNS 1123 label is allowed as exportTo entry";
            found.error(&entry.at, message);
        }
    }
    let Some(first) = entries.first().filter(|_| entries.len() > 1) else {
        return;
    };
    if seen.contains("*") {
        // E37.
        let message = "cannot have both public (*) and non-public exportTo values for a resource";
        found.error(&first.at, message);
    }
    if seen.contains("~") {
        // E38.
        found.error(&first.at, "cannot export service entry to no one (~) and someone");
    }
}
