//! Observations of a file: one JSON object a line, as the daemon keeps them.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
};

use anyhow::{Context as _, Result};
use enforcer_core::observed::Observation;

use crate::control::Observed;

/// A larger file is none of the daemon's.
const LIMIT: u64 = 1 << 30;

/// Those of a file, or of standard input.
pub(super) fn read(file: &Path) -> Result<Vec<Observation>> {
    let name = file.display();
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("reading {name}"))?)
    };
    let mut observations = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(source.take(LIMIT)).lines()) {
        let line = line.with_context(|| format!("reading {name}, line {number}"))?;
        if !line.trim().is_empty() {
            let of_line =
                observed(&line).with_context(|| format!("{name}, line {number}: no observation"))?;
            observations.extend(of_line);
        }
    }
    Ok(observations)
}

/// An observation, or the whole answer of an enforcer.
fn observed(line: &str) -> serde_json::Result<Vec<Observation>> {
    match serde_json::from_str(line) {
        Ok(observation) => Ok(vec![observation]),
        Err(error) => match serde_json::from_str::<Observed>(line) {
            Ok(all) => Ok(all.observations),
            Err(_) => Err(error),
        },
    }
}
