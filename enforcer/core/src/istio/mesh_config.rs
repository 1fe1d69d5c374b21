//! MeshConfig, from the ConfigMap `istio` or `istio-<revision>`, or as a document of its own.
//!
//! It has no CRD: it is protobuf's JSON, with fields by either of their names and enumerations by name or number.
//! Only the fields that determine reachability are read and validated.

mod dialled;

use std::sync::Arc;

use serde_json::Value;

use super::{
    export_to,
    label_selector::{self, field},
    name,
    node::{Findings, Node},
    object::{
        ExportTo, LabelExpression, LabelOperator, LabelSelector, MeshConfig, Meta, Object, OutboundMode,
        ServiceEntryVisibility, Visibility,
    },
};
use crate::{model::Namespace, yaml::Document};

/// Where Istio is installed by default.
pub(super) const ROOT_NAMESPACE: &str = "istio-system";
/// `outboundTrafficPolicy.mode`, by number; 2 is no longer in use.
const MODES: [&str; 4] = ["REGISTRY_ONLY", "ALLOW_ANY", "", "ALLOW_ANY_DYNAMIC_DNS"];
/// `serviceEntryVisibility` modes, by number.
const VISIBILITIES: [&str; 4] = ["VISIBILITY_UNSPECIFIED", "NONE", "NAMESPACE", "PUBLIC"];

/// Whether a ConfigMap holds one: others are named alike (`istio-ca-root-cert`) and have no such key.
pub(super) fn is_in_config_map(document: &Node<'_>) -> bool {
    let name = document
        .get("metadata")
        .get("name")
        .value()
        .as_str()
        .unwrap_or_default();
    (name == "istio" || name.starts_with("istio-")) && document.get("data").get("mesh").is_set()
}

pub(super) fn default_meta() -> Meta {
    MeshConfig::default().meta
}

pub(super) fn read_config_map(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let at = document.get("data").get("mesh");
    let text = at.text(found);
    match Document::embedded(text, 1).parse() {
        Ok(Value::Null) => read(&at.holding(&Value::Null), meta, found),
        Ok(value) => read(&at.holding(&value), meta, found),
        Err(error) => {
            found.error(&at, format!("line {} of the text: {error}", error.line));
            None
        }
    }
}

pub(super) fn read(mesh: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    mesh.is_mapping(found);
    let defaults = MeshConfig::default();
    let default_export_to = read_export_to(
        &field(mesh, "defaultServiceExportTo", "default_service_export_to"),
        found,
    );
    let root_namespace = field(mesh, "rootNamespace", "root_namespace");
    let discovery_selectors = field(mesh, "discoverySelectors", "discovery_selectors");
    let mesh_config = MeshConfig {
        mode: read_mode(
            &field(mesh, "outboundTrafficPolicy", "outbound_traffic_policy"),
            found,
        ),
        default_export_to: if default_export_to.is_empty() {
            defaults.default_export_to
        } else {
            default_export_to
        },
        root_namespace: read_root_namespace(&root_namespace, found).unwrap_or(defaults.root_namespace),
        discovery_selectors: label_selector::read_all(&discovery_selectors, found),
        visibility: read_visibility(
            &field(mesh, "serviceEntryVisibility", "service_entry_visibility"),
            found,
        ),
        dialled: dialled::read(mesh, found),
        meta,
    };
    Some(Object::MeshConfig(Arc::new(mesh_config)))
}

/// `{}` is REGISTRY_ONLY.
fn read_mode(policy: &Node<'_>, found: &mut Findings) -> Option<OutboundMode> {
    if !policy.is_mapping(found) {
        return None;
    }
    let mode = policy.get("mode").choice(found, &MODES).or_first();
    Some(if mode == 0 {
        OutboundMode::RegistryOnly
    } else {
        OutboundMode::AllowAny
    })
}

fn read_export_to(at: &Node<'_>, found: &mut Findings) -> Vec<ExportTo> {
    let mut entries = Vec::new();
    for entry in at.texts(found) {
        if !matches!(entry.value, "*" | "." | "~") && !name::is_label(entry.value) {
            let message = "only .,*, or a valid DNS 1123 label is allowed as exportTo entry";
            found.error(&entry.at, message);
        }
        entries.push(export_to::parse(entry.value));
    }
    entries
}

fn read_root_namespace(at: &Node<'_>, found: &mut Findings) -> Option<Namespace> {
    let text = at.text(found);
    if text.is_empty() {
        return None;
    }
    if !name::is_namespace(text) {
        found.error(
            at,
            format!("Invalid value: {text:?}: must be the name of a namespace"),
        );
    }
    Some(Namespace::new(text))
}

/// `serviceEntryVisibility` (`pilot/pkg/model/serviceentry_visibility.go`). The default is a last policy that fits
/// every namespace.
fn read_visibility(at: &Node<'_>, found: &mut Findings) -> Option<ServiceEntryVisibility> {
    if !at.is_mapping(found) {
        return None;
    }
    let mut policies = Vec::new();
    for policy in at.get("policies").list(found) {
        let selector = read_rules(&field(&policy, "matchingRules", "matching_rules"), found);
        policies.push((selector, visibility(&policy.get("visibility"), found)));
    }
    let default = visibility(&field(at, "defaultVisibility", "default_visibility"), found);
    policies.push((LabelSelector::default(), default));
    Some(ServiceEntryVisibility {
        policies,
        apply_to_sidecars: field(at, "applyToSidecars", "apply_to_sidecars").flag(found),
    })
}

fn visibility(at: &Node<'_>, found: &mut Findings) -> Visibility {
    match at.choice(found, &VISIBILITIES).or_first() {
        1 => Visibility::None,
        2 => Visibility::Namespace,
        _ => Visibility::Public,
    }
}

/// All rules of a policy have to match, so they are one selector; a rule of an unknown kind never matches.
fn read_rules(rules: &Node<'_>, found: &mut Findings) -> LabelSelector {
    let mut all = LabelSelector::default();
    for rule in rules.list(found) {
        let at = field(&rule, "namespaceSelector", "namespace_selector");
        if !at.is_mapping(found) {
            all.expressions.push(LabelExpression {
                key: String::new(),
                operator: LabelOperator::In(Vec::new()),
            });
            continue;
        }
        let selector = label_selector::read(&at, found);
        for (key, value) in selector.labels {
            all.expressions.push(LabelExpression {
                key,
                operator: LabelOperator::In(vec![value]),
            });
        }
        all.expressions.extend(selector.expressions);
    }
    all
}

#[cfg(test)]
mod tests;
