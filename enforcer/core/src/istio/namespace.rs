//! Namespace: only its labels matter; one of them sets the enforcement mode of its pods.

use std::sync::Arc;

use super::{
    node::{Findings, Node},
    object::{Meta, NamespaceObject, Object},
};
use crate::model::Enforcement;

/// The registry warns of a mode that is none, so that the object has an Event, too.
pub(super) fn read(meta: Meta) -> Object {
    Object::Namespace(Arc::new(NamespaceObject { meta }))
}

/// Warns of an invalid mode.
pub(super) fn check_mode(document: &Node<'_>, meta: &Meta, found: &mut Findings) {
    if let Some(value) = meta.labels.get(Enforcement::LABEL)
        && Enforcement::parse(value).is_none()
    {
        let labels = document.get("metadata").get("labels");
        let message =
            format!("{value:?} is not a mode and counts as enforce; modes are enforce, audit and off");
        found.warning(&labels.get(Enforcement::LABEL), message);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::object;

    #[test]
    fn mode_of_a_pod_that_is_none_is_warned_of() {
        for (kind, value, warnings) in [
            ("Namespace", "auditing", 0),
            ("Pod", "enforce", 0),
            ("Pod", "Off", 1),
        ] {
            let (_, found) = object(&format!(
                "apiVersion: v1\nkind: {kind}\nmetadata: {{name: x, labels: {{enforcer.dev/mode: {value:?}}}}}\n"
            ));
            assert_eq!(found.len(), warnings, "{kind} {value}: {found:?}");
        }
    }
}
