//! Documents from Istio's own tests, samples and API descriptions, with Istio's verdicts.
//!
//! A part of them is kept in `tests/corpus` (see `NOTICE` there); the environment variable `ISTIO_CORPUS` names a
//! folder with all of them. Either has a `manifest.tsv`: the file, where it comes from, the verdict, a part of the
//! message, ..., the warnings.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use enforcer_core::documents::{Judgement, Record, check};

/// A line of the manifest.
struct Expected {
    file: String,
    is_valid: bool,
    message: String,
    warnings: String,
}

impl Expected {
    /// Fields with quotes have them doubled and stand in quotes.
    fn parse(line: &str) -> Self {
        let fields: Vec<_> = line
            .split('\t')
            .map(|field| {
                let quoted = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
                quoted.map_or_else(|| field.to_owned(), |field| field.replace("\"\"", "\""))
            })
            .collect();
        Self {
            file: fields[0].clone(),
            is_valid: fields[2] == "valid",
            message: fields[3].clone(),
            warnings: fields[8].clone(),
        }
    }

    /// What is not as expected.
    fn disagreement(&self, records: &[Record]) -> Option<String> {
        let [record] = records else {
            return Some(format!("{} records instead of one", records.len()));
        };
        let is_valid = record.verdict == Judgement::Valid;
        if is_valid != self.is_valid {
            return Some(format!("valid is {is_valid}: {:?}", record.errors));
        }
        if !self.is_valid && !record.errors.iter().any(|error| error.contains(&self.message)) {
            return Some(format!("no error has {:?}: {:?}", self.message, record.errors));
        }
        // What the API server says, and not the webhook, is none of the corpus.
        let of_webhook = record.warnings.iter().map(|warning| bare(warning));
        let warnings: Vec<_> = of_webhook
            .filter(|warning| !warning.starts_with("unknown field"))
            .collect();
        let warnings = warnings.join("; ");
        (warnings != self.warnings)
            .then(|| format!("warnings are {warnings:?} instead of {:?}", self.warnings))
    }
}

/// A message without the line and the field before it.
fn bare(message: &str) -> &str {
    message.splitn(3, ": ").nth(2).unwrap_or_default()
}

fn agrees(folder: &Path) -> usize {
    let manifest = fs::read_to_string(folder.join("manifest.tsv")).expect("the manifest is there");
    let mut disagreements = Vec::new();
    let mut count = 0;
    for line in manifest.lines().skip(1) {
        let expected = Expected::parse(line);
        let text = fs::read_to_string(folder.join(&expected.file)).expect("the document is there");
        if let Some(disagreement) = expected.disagreement(&check(&expected.file, &text)) {
            disagreements.push(format!("{}: {disagreement}", expected.file));
        }
        count += 1;
    }
    assert!(
        disagreements.is_empty(),
        "{} of {count} disagree:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );
    count
}

#[test]
fn verdicts_on_the_kept_corpus_are_those_of_istio() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    assert!(agrees(&folder) >= 40, "documents are missing");
}

#[test]
fn verdicts_on_the_whole_corpus_are_those_of_istio() {
    let Some(folder) = env::var_os("ISTIO_CORPUS").map(PathBuf::from) else {
        println!("SKIPPED: ISTIO_CORPUS does not name the folder of the corpus");
        return;
    };
    let count = agrees(&folder);
    println!("{count} documents agree");
    assert!(count > 200, "documents are missing");
}
