//! The alerts, as Prometheus reads them, with seconds where operators have minutes.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::MONITORING;

/// What is written in an alert, and what stands for it in a test. Nothing else of an expression is changed.
const SHORTER: [(&str, &str); 5] = [
    ("[5m]", "[5s]"),
    ("[10m]", "[60s]"),
    ("[30m]", "[30s]"),
    ("[1h] offset 10m", "[60s] offset 10s"),
    (
        "enforcer_source_age_seconds > 900",
        "enforcer_source_age_seconds > 5",
    ),
];

/// How long a condition lasts in a test before its alert fires.
const FOR: &str = "1s";

/// The names of the alerts.
///
/// # Errors
/// If the file is not as it has to be.
pub fn alerts() -> Result<Vec<String>> {
    let mut document = read()?;
    let names = rules(&mut document)?.iter().map(|rule| {
        let name = rule["alert"].as_str().context("a rule is an alert")?;
        Ok(name.to_owned())
    });
    names.collect()
}

/// What Prometheus is given: every alert after [`FOR`], with what [`SHORTER`] has.
///
/// # Errors
/// If the file is not as it has to be, or has none of what is to be replaced.
pub fn hastened() -> Result<String> {
    let mut document = read()?;
    let mut used = [false; SHORTER.len()];
    for rule in rules(&mut document)? {
        let mut text = rule["expr"]
            .as_str()
            .context("a rule has an expression")?
            .to_owned();
        for ((long, short), used) in SHORTER.iter().zip(&mut used) {
            *used |= text.contains(long);
            text = text.replace(long, short);
        }
        rule["expr"] = json!(text);
        rule["for"] = json!(FOR);
    }
    ensure!(used == [true; SHORTER.len()], "{SHORTER:?} are used: {used:?}");
    Ok(document.to_string())
}

fn read() -> Result<Value> {
    let text = fs::read_to_string(Path::new(MONITORING).join("rules.yaml"))?;
    serde_yaml::from_str(&text).context("reading rules.yaml")
}

fn rules(document: &mut Value) -> Result<&mut Vec<Value>> {
    let rules = document
        .pointer_mut("/groups/0/rules")
        .and_then(Value::as_array_mut);
    rules.context("there is one group of rules")
}
