//! One destination of one workload, and its cells.

use std::net::SocketAddr;

use enforcer_core::observed::{Carrier, Observation, Seen};
use jiff::Timestamp;

use super::{
    column::{Column, Keys},
    rate::Counts,
};
use crate::report::escape;

/// What tells destinations apart from one answer to the next, in the order in which equal ones are shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) namespace: String,
    pub(super) workload: String,
    /// The host, else the address.
    pub(super) to: String,
    pub(super) port: u16,
    pub(super) transport: Carrier,
    pub(super) verdict: Seen,
    pub(super) is_probe: bool,
}

impl Id {
    pub(super) fn of(observation: &Observation) -> Self {
        let address = || observation.addresses.last().map(ToString::to_string);
        Self {
            namespace: observation.namespace.clone(),
            workload: observation.workload.clone(),
            to: observation.host.clone().or_else(address).unwrap_or_default(),
            port: observation.port,
            transport: observation.transport,
            verdict: observation.verdict,
            is_probe: observation.probe,
        }
    }
}

/// An observation with its rate.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: Id,
    pub(super) seen: Observation,
    pub(super) counts: Counts,
    pub(super) rate: Option<f64>,
}

/// Whether a verdict is a refusal, or would be one without audit.
pub(super) fn is_refusal(verdict: Seen) -> bool {
    matches!(verdict, Seen::Deny | Seen::Audit)
}

impl Row {
    pub(super) fn keys(&self) -> Keys<'_> {
        let Self { id, seen, .. } = self;
        Keys {
            namespace: &id.namespace,
            workload: &id.workload,
            to: (&id.to, id.port),
            verdict: id.verdict,
            refused: if is_refusal(id.verdict) { seen.count } else { 0 },
            rate: self.rate.unwrap_or_default(),
            total: seen.count,
            last: seen.last,
            object: seen.object.as_deref().unwrap_or_default(),
        }
    }

    /// Whether all of these words, in lower case, are somewhere in the line.
    pub(super) fn has(&self, words: &[String]) -> bool {
        let object = self.seen.object.as_deref().unwrap_or_default();
        let Id {
            namespace, workload, ..
        } = &self.id;
        let (destination, verdict) = (self.destination(), self.id.verdict);
        let text = format!("{namespace}/{workload} {namespace} {workload} {destination} {verdict} {object}");
        let text = text.to_lowercase();
        words.iter().all(|word| text.contains(word))
    }

    /// `db.example.com:5432/tcp`
    pub(super) fn destination(&self) -> String {
        let Id {
            to, port, transport, ..
        } = &self.id;
        match (&self.seen.host, self.seen.addresses.last()) {
            (None, Some(address)) => format!("{}/{transport}", SocketAddr::new(*address, *port)),
            _ => format!("{to}:{port}/{transport}"),
        }
    }

    /// The text of a column, escaped.
    pub(super) fn cell(&self, column: Column, now: Timestamp) -> String {
        match column {
            Column::Namespace => escaped(&self.id.namespace),
            Column::Workload => escaped(&self.id.workload),
            Column::Destination => escaped(&self.destination()),
            Column::Verdict => self.id.verdict.to_string(),
            Column::Rate => rate(self.rate),
            Column::Total => self.seen.count.to_string(),
            Column::Last => ago(self.seen.last, now),
            Column::Object => self
                .seen
                .object
                .as_deref()
                .map_or_else(|| "-".to_owned(), escaped),
        }
    }
}

/// One line of text, whatever was in it.
pub(super) fn escaped(text: &str) -> String {
    escape::Line(text).to_string()
}

/// `12.5`; `-` before it is known.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(few) if few < 100.0 => format!("{few:.1}"),
        Some(many) => format!("{many:.0}"),
    }
}

/// How long ago: `5s`, `12m`, `3h`, `4d`.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.duration_since(then).as_secs().max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}
