//! The queries of the dashboard, as Grafana asks them where everything is selected.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::MONITORING;

/// Grafana's variables, and their values in a test.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "10s"),
    ("$__range", "10m"),
    ("$namespace", ".*"),
    ("$node", ".*"),
];

/// What the page shows in one place.
#[derive(Debug)]
pub struct Panel {
    /// Its heading.
    pub title: String,
    /// What it asks.
    pub queries: Vec<String>,
    /// Whether there may be nothing to show.
    pub is_optional: bool,
}

/// All of them, from what Grafana imports.
///
/// # Errors
/// If the file is not as it has to be.
pub fn panels() -> Result<Vec<Panel>> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(Path::new(MONITORING).join("dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("it has panels")?;
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    shown.map(panel).collect()
}

fn panel(panel: &Value) -> Result<Panel> {
    let title = panel["title"].as_str().context("a panel has a title")?;
    let queries = panel["targets"].as_array().context("a panel has queries")?;
    let queries = queries.iter().map(|query| {
        let text = query["expr"].as_str().context("a query has a text")?;
        let text = VARIABLES
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        ensure!(!text.contains('$'), "{title}: {text}");
        Ok(text)
    });
    Ok(Panel {
        title: title.to_owned(),
        queries: queries.collect::<Result<_>>()?,
        is_optional: panel["description"]
            .as_str()
            .is_some_and(|text| text.contains("only while")),
    })
}
