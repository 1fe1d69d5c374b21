//! Rules that the API server enforces for any kind: sizes, required fields.

use super::node::{Findings, Item, Node};

/// The field has to be there.
pub(super) fn required(at: &Node<'_>, found: &mut Findings) {
    if !at.is_set() {
        found.error(at, "Required value");
    }
}

/// `maxItems` and `maxProperties`.
pub(super) fn at_most_items(at: &Node<'_>, items: usize, limit: usize, found: &mut Findings) {
    if items > limit {
        found.error(at, format!("Too many: {items}: must have at most {limit} items"));
    }
}

/// `maxLength`, which counts characters.
pub(super) fn at_most_characters(text: &Item<'_, &str>, limit: usize, found: &mut Findings) {
    if text.value.len() > limit && text.value.chars().count() > limit {
        found.error(&text.at, format!("Too long: may not be more than {limit} bytes"));
    }
}

/// `maxLength` of a field that may be absent.
pub(super) fn short_text(at: &Node<'_>, limit: usize, found: &mut Findings) {
    if let Some(text) = at.optional_text(found) {
        at_most_characters(&text, limit, found);
    }
}
