//! Validates documents one by one, for `enforcer check`.

use serde::Serialize;

use super::file::{self, Entry, Outcome, ReadBefore};
use crate::istio::{Object, Problem};

/// The result for one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The file, as it was named.
    pub file: String,
    /// Where the document begins, counted from 1; where the syntax error is, if it is not YAML.
    pub line: u32,
    /// `kind`, or empty.
    pub kind: String,
    /// `metadata.namespace`; `default` if the kind has a namespace and none is given.
    pub namespace: String,
    /// `metadata.name`, or empty.
    pub name: String,
    /// Whether the document would be accepted.
    pub verdict: Judgement,
    /// Why not: `line 7: spec.hosts: Required value`.
    pub errors: Vec<String>,
    /// What is suspicious, in the same form.
    pub warnings: Vec<String>,
    /// The other documents that its warnings are about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Related>,
    /// What it defines, if it is valid and part of the registry.
    #[serde(skip)]
    pub object: Option<Object>,
}

/// Another document that a warning is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// What it defines: `ServiceEntry frontend/db`.
    pub object: String,
    /// The file, as it was named.
    pub file: String,
    /// Where the document begins, counted from 1.
    pub line: u32,
}

/// Whether a document would be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    /// Accepted, or of a kind that is no part of the registry.
    Valid,
    /// Not accepted.
    Invalid,
    /// Not accepted, because it is not YAML.
    #[serde(rename = "invalid")]
    NotYaml,
}

/// One record for each document of `text`, in order, and one for each item of a list.
pub fn check(file: &str, text: &str) -> Vec<Record> {
    let entries = file::read(text, &ReadBefore::new());
    entries.into_iter().map(|entry| record(file, entry)).collect()
}

fn record(file: &str, entry: Entry) -> Record {
    let subject = entry.subject;
    let mut warnings = texts(&entry.warnings);
    let mut object = None;
    let (verdict, errors) = match entry.outcome {
        Outcome::Valid(valid) => {
            object = Some(valid);
            (Judgement::Valid, Vec::new())
        }
        Outcome::Skipped => {
            let kind = format!("{}, kind {}", subject.api_version, subject.kind);
            warnings.push(format!(
                "line {}: not checked: {kind} is no part of the registry",
                entry.line
            ));
            (Judgement::Valid, Vec::new())
        }
        Outcome::Invalid { errors, .. } => (Judgement::Invalid, texts(&errors)),
        Outcome::NotYaml(error) => (
            Judgement::NotYaml,
            vec![format!("line {}: not YAML: {error}", error.line)],
        ),
    };
    Record {
        file: file.to_owned(),
        line: entry.line,
        kind: subject.kind,
        namespace: subject.namespace,
        name: subject.name,
        verdict,
        errors,
        warnings,
        related: Vec::new(),
        object,
    }
}

fn texts(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Vec<String> {
        let records = check("a.yaml", text);
        records
            .iter()
            .map(|record| serde_json::to_string(record).unwrap())
            .collect()
    }

    #[test]
    fn record_has_exactly_its_fields() {
        let text = "# c\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: db\nspec:\n  hosts:\n  - '*'\n";
        assert_eq!(
            json(text),
            [concat!(
                r#"{"file":"a.yaml","line":2,"kind":"ServiceEntry","namespace":"default","name":"db","verdict":"invalid","#,
                r#""errors":["line 8: spec.hosts[0]: invalid host *","line 8: spec.hosts[0]: hostname cannot be wildcard"],"#,
                r#""warnings":[]}"#
            )]
        );
    }

    #[test]
    fn text_that_is_no_yaml_is_told_from_what_is_invalid() {
        let records = check(
            "a.yaml",
            "a: b\n---\nc: [\n---\napiVersion: apps/v1\nkind: Deployment\n",
        );
        let verdicts: Vec<_> = records
            .iter()
            .map(|record| (record.line, record.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [
                (1, Judgement::Invalid),
                (3, Judgement::NotYaml),
                (5, Judgement::Valid)
            ]
        );
        assert!(
            records[1].errors[0].starts_with("line 3: not YAML: "),
            "{records:?}"
        );
        assert_eq!(
            records[2].warnings,
            ["line 5: not checked: apps/v1, kind Deployment is no part of the registry"]
        );
        assert_eq!(serde_json::to_string(&Judgement::NotYaml).unwrap(), "\"invalid\"");
    }

    #[test]
    fn items_of_a_list_have_records_of_their_own() {
        let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n\
                    - apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: B\n";
        let records = check("a.yaml", text);
        assert_eq!((records[0].line, records[0].verdict), (4, Judgement::Valid));
        assert_eq!((records[1].line, records[1].verdict), (7, Judgement::Invalid));
        assert!(
            records[1].errors[0].starts_with("line 10: metadata.name: "),
            "{records:?}"
        );
    }
}
