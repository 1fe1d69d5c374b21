//! What is said beside a suggestion: who used it, how often, first and last.

use jiff::Timestamp;

use super::group::Group;
use crate::observed::Observation;

/// `frontend/web: tcp 443, 1204 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)`, for each observation.
pub(super) fn users(group: &Group<'_>) -> Vec<String> {
    let observations = group.observations().into_iter();
    observations.map(|seen| user(seen, group.host.is_none() || is_below(group, seen))).collect()
}

fn user(seen: &Observation, names_it: bool) -> String {
    let Observation {
        namespace,
        workload,
        transport,
        port,
        count,
        ..
    } = seen;
    let what = match &seen.host {
        _ if !names_it => String::new(),
        Some(host) => format!(" of {host}"),
        None => {
            let addresses: Vec<_> = seen.addresses.iter().map(ToString::to_string).collect();
            format!(" of {}", addresses.join(", "))
        }
    };
    let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
    let (first, last) = (second(seen.first), second(seen.last));
    let when = if first == last {
        format!("at {first}")
    } else {
        format!("from {first} to {last}")
    };
    let probe = if seen.probe {
        ", a connected datagram socket that sent nothing, as resolver libraries make"
    } else {
        ""
    };
    format!("{namespace}/{workload}: {transport} {port}{what}, {times} {when} ({}{probe})", seen.verdict)
}

/// Whether the group is for a wildcard.
fn is_below(group: &Group<'_>, seen: &Observation) -> bool {
    let host = group.host.as_ref();
    seen.host.is_some() && host.is_some_and(|host| Some(host) != seen.host().as_ref())
}

fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Text from elsewhere as one line.
pub(super) fn one_line(text: &str) -> String {
    let is_break = |it: char| it.is_control() || matches!(it, '\u{2028}' | '\u{2029}');
    let shown = |it: char| {
        if is_break(it) {
            it.escape_default().to_string()
        } else {
            it.to_string()
        }
    };
    text.chars().map(shown).collect()
}
