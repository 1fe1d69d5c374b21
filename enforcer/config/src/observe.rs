//! What is kept of what workloads were seen to reach.

use std::path::PathBuf;

use super::{
    error::Findings,
    raw::{At, RawObserve},
    units::absolute,
};

/// Entries by default: a few MB of memory.
const ENTRIES: u32 = 8_192;
/// More would take too long to sort and to send.
const ENTRIES_LIMIT: u32 = 1 << 16;

/// What is kept of what workloads were seen to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// At most so many destinations of all workloads.
    pub entries: u32,
    /// A file that keeps them over a restart; None: they end with the process.
    pub file: Option<PathBuf>,
}

impl Default for Observe {
    fn default() -> Self {
        Self {
            entries: ENTRIES,
            file: None,
        }
    }
}

pub(super) fn observe(raw: &RawObserve, findings: &mut Findings) -> Observe {
    let entries = |entries: &u32| match *entries {
        entries @ 1..=ENTRIES_LIMIT => Ok(entries),
        entries => Err(format!(
            "{entries} is out of range; it is a number from 1 to {ENTRIES_LIMIT}"
        )),
    };
    let mut default = Observe::default();
    if let Some(read) = raw
        .entries
        .as_ref()
        .and_then(|raw: &At<u32>| findings.read("observe.entries", raw, entries))
    {
        default.entries = read;
    }
    let file = raw.file.as_ref();
    default.file = file.and_then(|raw| findings.read("observe.file", raw, |path| absolute(path)));
    default
}
