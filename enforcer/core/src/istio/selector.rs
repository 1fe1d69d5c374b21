//! `workloadSelector` of a ServiceEntry or a Sidecar (`ValidateAlphaWorkloadSelector`).

use super::{
    node::{Findings, Item, Node},
    schema,
};
use crate::model::Labels;

/// A selector as written.
#[derive(Debug)]
pub(super) struct Selector<'a> {
    pub(super) at: Node<'a>,
    labels: Vec<(&'a str, Item<'a, &'a str>)>,
}

impl<'a> Selector<'a> {
    pub(super) fn read(at: Node<'a>, found: &mut Findings) -> Option<Self> {
        if !at.is_mapping(found) {
            return None;
        }
        let labels_at = at.get("labels");
        let entries = labels_at.entries(found);
        schema::at_most_items(&labels_at, entries.len(), 256, found);
        let mut labels = Vec::new();
        for (key, value_at) in entries {
            let value = Item {
                value: value_at.text(found),
                at: value_at,
            };
            schema::at_most_characters(&value, 63, found);
            labels.push((key, value));
        }
        Some(Self { at, labels })
    }

    /// E1, E2 and the CRD's rule; false if Istio looks no further.
    pub(super) fn check(&self, found: &mut Findings) -> bool {
        let before = found.errors.len();
        for (key, value) in &self.labels {
            let pair = format!("{key}={}", value.value);
            if key.is_empty() {
                found.error(
                    &value.at,
                    format!("empty key is not supported in selector: {pair:?}"),
                );
            }
            if key.contains('*') || value.value.contains('*') {
                found.error(
                    &value.at,
                    format!("wildcard is not supported in selector: {pair:?}"),
                );
            }
        }
        found.errors.len() == before
    }

    /// W1: no labels select everything.
    pub(super) fn warn_if_empty(&self, kind: &str, found: &mut Findings) {
        if self.labels.is_empty() {
            let message = format!(
                "{kind}: workload selector specified without labels, will be applied to all services in namespace"
            );
            found.warning(&self.at, message);
        }
    }

    pub(super) fn labels(&self) -> Labels {
        let labels = self.labels.iter();
        labels
            .map(|(key, value)| ((*key).to_owned(), value.value.to_owned()))
            .collect()
    }
}
