//! Unknown fields and kinds of Istio's API group: most are typing mistakes. Files bypass the API server, whose
//! strict validation would refuse them. They are warnings, since a newer Istio has fields that are not known here.

use serde_json::Value;

use super::problem::Problem;
use crate::yaml::{Field, Step};

/// Fields by name, each with those in it, or in the items of its list. No names: whatever is in it is known.
struct Fields(&'static [(&'static str, Self)]);

const ANY: Fields = Fields(&[]);
const PORT: Fields = Fields(&[
    ("name", ANY),
    ("number", ANY),
    ("protocol", ANY),
    ("targetPort", ANY),
]);
const SELECTOR: Fields = Fields(&[("labels", ANY)]);
const ENDPOINT: Fields = Fields(&[
    ("address", ANY),
    ("labels", ANY),
    ("locality", ANY),
    ("network", ANY),
    ("ports", ANY),
    ("serviceAccount", ANY),
    ("weight", ANY),
]);
const SERVICE_ENTRY: Fields = Fields(&[
    ("addresses", ANY),
    ("endpoints", ENDPOINT),
    ("exportTo", ANY),
    ("hosts", ANY),
    ("location", ANY),
    ("ports", PORT),
    ("resolution", ANY),
    ("subjectAltNames", ANY),
    ("workloadSelector", SELECTOR),
]);
const EGRESS: Fields = Fields(&[
    ("bind", ANY),
    ("captureMode", ANY),
    ("hosts", ANY),
    ("port", PORT),
]);
const INGRESS: Fields = Fields(&[
    ("bind", ANY),
    ("captureMode", ANY),
    ("connectionPool", ANY),
    ("defaultEndpoint", ANY),
    ("port", PORT),
    ("tls", ANY),
]);
const POLICY: Fields = Fields(&[("egressProxy", ANY), ("mode", ANY)]);
const SIDECAR: Fields = Fields(&[
    ("egress", EGRESS),
    ("inboundConnectionPool", ANY),
    ("ingress", INGRESS),
    ("outboundTrafficPolicy", POLICY),
    ("workloadSelector", SELECTOR),
]);

/// Kinds of `networking.istio.io` that are read, with the fields of their `spec`.
const READ: [(&str, Fields); 3] = [
    ("ServiceEntry", SERVICE_ENTRY),
    ("WorkloadEntry", ENDPOINT),
    ("Sidecar", SIDECAR),
];

/// Kinds of that group that do not affect what a workload may reach.
const OTHERS: [&str; 6] = [
    "DestinationRule",
    "EnvoyFilter",
    "Gateway",
    "ProxyConfig",
    "VirtualService",
    "WorkloadGroup",
];

const GROUP: &str = "networking.istio.io/";

/// How many fields of one document are reported.
const MOST: usize = 20;

/// The unknown fields, or the unknown kind, of a document of Istio's API group.
pub(crate) fn unknown(document: &Value) -> Vec<Problem> {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    if !text("apiVersion").starts_with(GROUP) {
        return Vec::new();
    }
    let kind = text("kind");
    let Some((_, spec)) = READ.iter().find(|(name, _)| *name == kind) else {
        let is_other = OTHERS.contains(&kind) || kind.is_empty() || kind.ends_with("List");
        let problem = Problem {
            field: Field::from_iter([Step::Key("kind".to_owned())]),
            line: None,
            message: format!(
                "unknown kind {kind:?}: the document is ignored; of this API group, the enforcer reads ServiceEntry, \
                 WorkloadEntry and Sidecar"
            ),
        };
        return if is_other { Vec::new() } else { vec![problem] };
    };
    let mut found = Vec::new();
    for (key, value) in document.as_object().into_iter().flatten() {
        let mut way = vec![Step::Key(key.clone())];
        match key.as_str() {
            "spec" => collect(value, spec, &mut way, &mut found),
            "apiVersion" | "kind" | "metadata" | "status" => {}
            _ => found.push(way.into_iter().collect()),
        }
    }
    let more = found.len().saturating_sub(MOST);
    let mut problems: Vec<_> = found
        .into_iter()
        .take(MOST)
        .map(|field| problem(field, ""))
        .collect();
    if let Some(last) = problems.last_mut().filter(|_| more > 0) {
        *last = problem(last.field.clone(), &format!(", and so are {more} others"));
    }
    problems
}

fn problem(field: Field, others: &str) -> Problem {
    Problem {
        field,
        line: None,
        message: format!(
            "unknown field{others}: it is ignored; check its spelling (Kubernetes' strict validation rejects it)"
        ),
    }
}

fn collect(value: &Value, fields: &Fields, way: &mut Vec<Step>, found: &mut Vec<Field>) {
    if fields.0.is_empty() {
        return;
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        way.push(Step::Index(index));
        collect(item, fields, way, found);
        way.pop();
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        way.push(Step::Key(key.clone()));
        match fields.0.iter().find(|(name, _)| name == key) {
            Some((_, fields)) => collect(inner, fields, way, found),
            None => found.push(way.iter().cloned().collect()),
        }
        way.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, expected: &[&str]) {
        let document = serde_yaml::from_str(document).unwrap();
        let found: Vec<_> = unknown(&document).iter().map(|it| it.field.to_string()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn mistyped_fields_are_found_wherever_they_are() {
        check(
            "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a, any: b}, spec: {hosts: [a], \
             exportto: ['.'], ports: [{number: 1}, {number: 2, port: 3}], endpoints: [{labels: {any: b}, adress: c}]}, \
             status: {any: b}, Spec: {}}",
            &[
                "spec.exportto",
                "spec.ports[1].port",
                "spec.endpoints[0].adress",
                "Spec",
            ],
        );
        check(
            "{apiVersion: networking.istio.io/v1beta1, kind: Sidecar, spec: {egress: [{host: ['*/*']}], ingress: [{tls: \
             {any: b}}], outboundTrafficPolicy: {Mode: ALLOW_ANY}}}",
            &["spec.egress[0].host", "spec.outboundTrafficPolicy.Mode"],
        );
        check(
            "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, spec: {address: a, labels: {any: b}, port: 1}}",
            &["spec.port"],
        );
    }

    #[test]
    fn mistyped_kinds_are_found_and_those_of_others_are_none() {
        check(
            "{apiVersion: networking.istio.io/v1, kind: ServiceEntri}",
            &["kind"],
        );
        check(
            "{apiVersion: networking.istio.io/v1, kind: VirtualService, spec: {any: b}}",
            &[],
        );
        check("{apiVersion: apps/v1, kind: Deployment, spec: {any: b}}", &[]);
        check("[]", &[]);
    }

    #[test]
    fn fields_of_one_document_that_are_named_have_a_bound() {
        let spec: Vec<_> = (0..100).map(|number| format!("a{number}: b")).collect();
        let document = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, spec: {{{}}}}}",
            spec.join(", ")
        );
        let problems = unknown(&serde_yaml::from_str(&document).unwrap());
        assert_eq!(problems.len(), MOST);
        assert!(problems[MOST - 1].message.contains("80 others"), "{problems:?}");
    }

    /// The definitions that are installed where there is no Istio.
    #[test]
    fn every_field_of_istios_definitions_is_known() {
        let crds = std::fs::read_to_string("../../deploy/crds/istio-crds.yaml").unwrap();
        let mut seen = 0;
        for document in crds.split("\n---\n") {
            let crd: Value = serde_yaml::from_str(document).unwrap();
            let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default();
            let Some((_, fields)) = READ.iter().find(|(name, _)| *name == kind) else {
                continue;
            };
            for version in crd["spec"]["versions"].as_array().unwrap() {
                let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
                compare(spec, fields, kind);
                seen += 1;
            }
        }
        assert_eq!(seen, 9, "three kinds in three versions");
    }

    fn compare(schema: &Value, fields: &Fields, at: &str) {
        if fields.0.is_empty() {
            return;
        }
        let schema = schema.get("items").unwrap_or(schema);
        let defined = schema["properties"].as_object().unwrap();
        let names: std::collections::BTreeSet<_> = fields.0.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, defined.keys().map(String::as_str).collect(), "{at}");
        for (name, inner) in fields.0 {
            compare(&defined[*name], inner, &format!("{at}.{name}"));
        }
    }
}
