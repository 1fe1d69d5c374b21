//! What is said beside a suggestion: who used it, how often, first and last.

use jiff::Timestamp;

use super::{change::Change, group::Group};
use crate::{
    draft::{Draft, Form},
    istio::{ExportTo, Object, ObjectId},
    observed::Observation,
    settings::Matching,
};

/// What there is to know of a new entry, and who used it. `passed`: an object that comes near, and was not to be changed.
pub(super) fn remarks(
    draft: &Draft,
    group: &Group<'_>,
    (matching, passed): (Matching, Option<&ObjectId>),
) -> Vec<String> {
    let mut lines = Vec::new();
    match (&group.host, draft.form) {
        (Some(wildcard), Form::Below) => lines.push(format!(
            "A wildcard: it also allows every other name below {}, on these ports.",
            wildcard.as_str().trim_start_matches("*.")
        )),
        (Some(host), Form::Declared) if draft.host != host.as_str() => {
            lines.push(format!("By address: an entry for {host} would not do, or allow more."));
        }
        (Some(_), Form::Declared) if matching == Matching::Istio => lines.extend([
            "With the addresses that were seen: under the matching `istio`, any address would be allowed without them."
                .to_owned(),
            "An address that the name gets later has to be added.".to_owned(),
        ]),
        (Some(host), Form::Declared) => lines.push(format!(
            "With the addresses that were seen: what {host} resolves to would not allow them."
        )),
        (None, _) => lines.push("By address: no name was seen. The host never resolves (RFC 2606).".to_owned()),
        (Some(_), _) => {}
    }
    lines.extend(
        passed.map(|id| {
            format!("{id} comes near; a change of it would allow more than was seen, or not this.")
        }),
    );
    lines.extend(users(group));
    lines
}

/// `frontend/web: tcp 443, 1204 times from 2026-11-01T08:00:00Z to 2026-11-22T14:03:11Z (deny)`, for each observation.
pub(super) fn users(group: &Group<'_>) -> Vec<String> {
    let observations = group.observations().into_iter();
    observations
        .map(|seen| user(seen, group.host.is_none() || is_below(group, seen)))
        .collect()
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
    let times = if *count == 1 {
        "once".to_owned()
    } else {
        format!("{count} times")
    };
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
    format!(
        "{namespace}/{workload}: {transport} {port}{what}, {times} {when} ({}{probe})",
        seen.verdict
    )
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

/// Who else gets what is added to an object.
pub(super) fn audience(change: &Change, group: &Group<'_>) -> Vec<String> {
    let Object::ServiceEntry(entry) = &change.object else {
        return Vec::new();
    };
    if !change.is_for_all() {
        return Vec::new();
    }
    let users = group.namespaces();
    let mut others: Vec<String> = Vec::new();
    for to in &entry.export_to {
        match to {
            ExportTo::Everyone => others.push("every namespace".to_owned()),
            ExportTo::Own if !users.contains(&entry.meta.namespace) => {
                others.push(entry.meta.namespace.to_string());
            }
            ExportTo::Namespace(name) if !users.contains(name) => others.push(name.to_string()),
            _ => {}
        }
    }
    if entry.export_to.is_empty() {
        others.push("whomever the mesh exports it to by default".to_owned());
    }
    if others.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "It is exported to {}, who may then do the same.",
        others.join(", ")
    )]
}
