//! The columns, and the order that each gives.

use std::cmp::{Ordering, Reverse};

use clap::ValueEnum;
use enforcer_core::observed::Seen;
use jiff::Timestamp;

/// What the table can be sorted by; its columns, from the left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Column {
    /// The workload's namespace
    Namespace,
    /// The workload's name
    Workload,
    /// The host or address
    Destination,
    /// What is refused most comes first
    Verdict,
    /// The busiest comes first
    #[default]
    Rate,
    /// The most frequent comes first
    Total,
    /// What was seen last comes first
    Last,
    /// The object that allows it, or that comes closest
    Object,
}

/// What a line is sorted by: that of a destination, or of a group of them.
pub(super) struct Keys<'a> {
    pub(super) namespace: &'a str,
    pub(super) workload: &'a str,
    pub(super) to: (&'a str, u16),
    pub(super) verdict: Seen,
    /// Calls that were refused, or would be.
    pub(super) refused: u64,
    pub(super) rate: f64,
    pub(super) total: u64,
    pub(super) last: Timestamp,
    pub(super) object: &'a str,
}

impl Column {
    /// All of them, from the left.
    pub(super) const ALL: [Self; 8] = [
        Self::Namespace,
        Self::Workload,
        Self::Destination,
        Self::Verdict,
        Self::Rate,
        Self::Total,
        Self::Last,
        Self::Object,
    ];

    /// Its head in the table.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Namespace => "NAMESPACE",
            Self::Workload => "WORKLOAD",
            Self::Destination => "DESTINATION",
            Self::Verdict => "VERDICT",
            Self::Rate => "RATE/S",
            Self::Total => "TOTAL",
            Self::Last => "LAST",
            Self::Object => "OBJECT",
        }
    }

    /// Whether its cells are numbers, which stand at the right.
    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Rate | Self::Total | Self::Last)
    }

    /// The column beside it; the first and the last are neighbours.
    pub(super) fn beside(self, steps: isize) -> Self {
        let count = Self::ALL.len();
        let at = Self::ALL.iter().position(|column| *column == self);
        Self::ALL[at
            .unwrap_or_default()
            .wrapping_add_signed(steps)
            .wrapping_add(count)
            % count]
    }

    /// Text from its beginning, the large and the recent before the small and the old. What is equal is told apart by the
    /// total alone.
    pub(super) fn compare(self, a: &Keys<'_>, b: &Keys<'_>) -> Ordering {
        let first = match self {
            Self::Namespace => a.namespace.cmp(b.namespace),
            Self::Workload => a.workload.cmp(b.workload),
            Self::Destination => a.to.cmp(&b.to),
            Self::Verdict => b.refused.cmp(&a.refused).then(b.verdict.cmp(&a.verdict)),
            Self::Rate => b.rate.total_cmp(&a.rate),
            Self::Total => Ordering::Equal,
            Self::Last => b.last.cmp(&a.last),
            Self::Object => a.object.cmp(b.object),
        };
        first.then(Reverse(a.total).cmp(&Reverse(b.total)))
    }
}
