//! What the daemon has inside, for the support bundle: the registry as it is understood, what the maps hold, what differs
//! from what they should hold, and the last records of the log.

mod described;
mod held;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use described::described;
pub use held::{Named, held};

/// The most bytes of one listing.
const ROOM: usize = 4 << 20;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inside {
    /// Objects that count, with where they are from.
    pub objects: Listing,
    /// Everything that is suspicious about them.
    pub warnings: Listing,
    /// Workloads with their cgroups.
    pub workloads: Listing,
    /// What is in the maps: counts, settings and counters.
    pub summary: Value,
    /// What is in the maps, by policy.
    pub maps: Listing,
    /// Changes that would bring the maps to what they should hold.
    pub pending: Listing,
    /// Records of the log, in JSON.
    pub log: Listing,
}

/// As many values as there is room for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// One for each thing.
    pub lines: Vec<Value>,
    /// How many more there are.
    pub left_out: usize,
    #[serde(skip)]
    bytes: usize,
}

impl Listing {
    /// Adds a value, or counts it.
    pub fn push(&mut self, value: impl FnOnce() -> Value) {
        if self.bytes < ROOM {
            let value = value();
            self.bytes += value.to_string().len();
            self.lines.push(value);
        } else {
            self.left_out += 1;
        }
    }
}

impl FromIterator<Value> for Listing {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut listing = Self::default();
        values.into_iter().for_each(|value| listing.push(|| value));
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_is_bounded_and_says_how_much_it_leaves_out() {
        let line = "x".repeat(ROOM / 4);
        let listing: Listing = (0..7).map(|_| Value::from(line.as_str())).collect();
        assert_eq!((listing.lines.len(), listing.left_out), (4, 3));
    }
}
