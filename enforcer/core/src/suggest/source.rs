//! ServiceEntries as their author has written them, so that a changed one can be shown whole.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    istio::{self, Kind, ObjectId, Reading},
    yaml::split,
};

/// The documents of ServiceEntries.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<ObjectId, Value>);

impl Sources {
    /// Adds the valid ServiceEntries of a file. Of two documents with one object, the first is in force.
    pub fn add(&mut self, text: &str) {
        for document in split(text) {
            let Ok(value) = document.parse() else {
                continue;
            };
            for (_, object) in istio::unfold(&value) {
                if let Reading::Valid(valid, _) = istio::read(object)
                    && valid.id().kind == Kind::ServiceEntry
                {
                    self.0.entry(valid.id()).or_insert_with(|| applicable(object));
                }
            }
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<&Value> {
        self.0.get(id)
    }

    pub(super) fn set(&mut self, id: ObjectId, document: Value) {
        self.0.insert(id, document);
    }
}

/// Without what an API server adds, and refuses or ignores when it is applied.
fn applicable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    let Some(meta) = object["metadata"].as_object_mut() else {
        return object;
    };
    for field in [
        "creationTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        meta.shift_remove(field);
    }
    if let Some(annotations) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
        if annotations.is_empty() {
            meta.shift_remove("annotations");
        }
    }
    object
}
