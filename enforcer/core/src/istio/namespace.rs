//! Namespace: nothing but its labels matters.

use std::sync::Arc;

use super::object::{Meta, NamespaceObject, Object};

pub(super) fn read(meta: Meta) -> Object {
    Object::Namespace(Arc::new(NamespaceObject { meta }))
}
