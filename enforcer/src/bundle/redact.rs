//! Replaces names, hosts and addresses, each by the same placeholder in all files.
//!
//! ```text
//! files -> known (what stands where names do) -> scan (every text, to find the rest) -> placeholders
//! files, placeholders -> scan (every text again) -> files
//! ```
//!
//! Placeholders are numbered by a hash whose key is new in each run, so that they say nothing about what they stand for.
//!
//! **Architecture Invariant:** a text leaves only through `scan`, so that names in sentences go like those in fields.

mod host;
mod known;
mod placeholders;
mod scan;
mod words;

#[cfg(test)]
mod tests;

use super::Files;

use known::Known;
use placeholders::{Finding, Placeholders};

/// The configuration as it was typed, which has comments: they may name anything.
const TYPED: &str = "configuration.yaml";

/// Replaces them in all files.
pub fn redact(files: &mut Files) {
    if files.remove(TYPED) {
        files.miss(
            TYPED,
            "its comments may name anything; configuration.json has what it says",
        );
    }
    let known = Known::of(files);
    let mut finding = Finding::default();
    files.map(|key, text| {
        if !words::is_ours(key) {
            scan::scan(text, &known, &mut finding);
        }
        text.to_owned()
    });
    let mut placeholders = Placeholders::new(finding);
    files.map(|key, text| {
        if words::is_ours(key) {
            text.to_owned()
        } else {
            scan::scan(text, &known, &mut placeholders)
        }
    });
}
