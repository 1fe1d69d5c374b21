//! The journal's records of an enforcer that does not run: its own memory of them is gone.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use crate::control::Listing;

/// How many of the last records are asked for, and the most bytes that are read of the answer.
const RECORDS: &str = "2000";
const LIMIT: u64 = 16 << 20;

/// The last records, with the fields of docs/LOG.md.
pub(super) fn records() -> Result<Listing> {
    let mut child = Command::new("journalctl")
        .args([
            "--identifier=enforcer",
            "--output=json",
            "--no-pager",
            "--quiet",
            "--lines",
            RECORDS,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("there is no journalctl to ask the journal")?;
    let output = child.stdout.take().context("its output is piped")?;
    let lines = BufReader::new(output.take(LIMIT)).lines().map_while(Result::ok);
    let listing: Listing = lines.filter_map(|line| record(&line)).collect();
    // It may still write what is beyond the limit; nobody reads that.
    child.kill().ok();
    child.wait().context("waiting for journalctl")?;
    ensure!(!listing.lines.is_empty(), "the journal has none");
    Ok(listing)
}

/// A record of the journal in our own words.
fn record(line: &str) -> Option<Value> {
    let of_journal: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut record = Map::new();
    let text = |key: &str| of_journal.get(key).and_then(Value::as_str);
    let micros = text("__REALTIME_TIMESTAMP").and_then(|time| time.parse().ok());
    let time = micros.and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
    record.insert("timestamp".to_owned(), time.map(|time| time.to_string()).into());
    let level = match text("PRIORITY") {
        Some("0" | "1" | "2" | "3") => "ERROR",
        Some("4") => "WARN",
        Some("7") => "DEBUG",
        _ => "INFO",
    };
    record.insert("level".to_owned(), level.into());
    record.insert("message".to_owned(), text("MESSAGE")?.into());
    for (key, value) in &of_journal {
        if let Some(name) = key.strip_prefix("ENFORCER_") {
            record.insert(name.to_lowercase(), value.clone());
        }
    }
    Some(record.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_the_journal_has_the_fields_of_the_log() {
        let line = r#"{"MESSAGE":"denied a","PRIORITY":"4","__REALTIME_TIMESTAMP":"1700000000000000",
            "ENFORCER_WORKLOAD":"a/b","_PID":"7"}"#;
        let record = record(line).unwrap();
        assert_eq!(record["level"], "WARN");
        assert_eq!(record["workload"], "a/b");
        assert_eq!(record["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(record.get("_PID"), None);
    }
}
