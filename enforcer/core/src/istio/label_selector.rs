//! Kubernetes' label selectors in the mesh's configuration.

use super::{
    name,
    node::{Findings, Node},
    object::{LabelExpression, LabelOperator, LabelSelector},
};

/// A field of a protobuf message by its JSON name or its own.
pub(super) fn field<'a>(at: &Node<'a>, json: &'a str, own: &'a str) -> Node<'a> {
    let node = at.get(json);
    if node.is_set() {
        return node;
    }
    let other = at.get(own);
    if other.is_set() { other } else { node }
}

pub(super) fn read_all(at: &Node<'_>, found: &mut Findings) -> Vec<LabelSelector> {
    let mut selectors = Vec::new();
    for element in at.list(found) {
        selectors.push(read(&element, found));
    }
    selectors
}

pub(super) fn read(at: &Node<'_>, found: &mut Findings) -> LabelSelector {
    at.is_mapping(found);
    let labels = at.get("matchLabels").labels(found);
    let mut expressions = Vec::new();
    for element in at.get("matchExpressions").list(found) {
        expressions.extend(read_expression(&element, found));
    }
    LabelSelector { labels, expressions }
}

fn read_expression(at: &Node<'_>, found: &mut Findings) -> Option<LabelExpression> {
    let key = at.get("key").text(found);
    if let Err(message) = name::check_label_key(key) {
        found.error(&at.get("key"), message);
    }
    let values: Vec<_> = at.get("values").texts(found);
    let values: Vec<_> = values.iter().map(|value| value.value.to_owned()).collect();
    let operator_at = at.get("operator");
    let operator = match (operator_at.text(found), values.is_empty()) {
        ("In", false) => LabelOperator::In(values),
        ("NotIn", false) => LabelOperator::NotIn(values),
        ("Exists", true) => LabelOperator::Exists,
        ("DoesNotExist", true) => LabelOperator::DoesNotExist,
        ("In" | "NotIn", true) => {
            found.error(at, "for 'in', 'notin' operators, values set can't be empty");
            return None;
        }
        ("Exists" | "DoesNotExist", false) => {
            found.error(at, "values set must be empty for exists and does not exist");
            return None;
        }
        (other, _) => {
            found.error(
                &operator_at,
                format!("{other:?} is not a valid label selector operator"),
            );
            return None;
        }
    };
    Some(LabelExpression {
        key: key.to_owned(),
        operator,
    })
}
