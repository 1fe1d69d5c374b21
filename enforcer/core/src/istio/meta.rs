//! `metadata` of any object.

use super::{
    name,
    node::{Findings, Node},
    object::Meta,
};
use crate::model::Namespace;

/// Annotations that Istio's webhook always refuses (`validateMetadata`).
const REFUSED_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "internal.istio.io/webhook-always-reject",
        "annotation found, rejecting",
    ),
    (
        "internal.istio.io/parent-namespace",
        "annotation found, this may not be set by users",
    ),
    (
        "internal.istio.io/parents",
        "annotation found, this may not be set by users",
    ),
];

/// Whether objects of a kind live in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// In one; `default` if the document names none.
    Namespaced,
    /// In none.
    Cluster,
}

/// Reads `metadata`; None if it does not name the object.
pub(super) fn read(document: &Node<'_>, scope: Scope, found: &mut Findings) -> Option<Meta> {
    let metadata = document.get("metadata");
    if !metadata.is_mapping(found) {
        if !metadata.is_set() {
            found.error(&metadata, "Required value");
        }
        return None;
    }
    let labels = metadata.get("labels");
    for (key, value) in labels.entries(found) {
        let value_text = value.text(found);
        if let Err(message) = name::check_label_key(key).and_then(|()| name::check_label_value(value_text)) {
            found.error(&value, message);
        }
    }
    let name = read_name(&metadata.get("name"), found)?;
    let namespace = match scope {
        Scope::Cluster => Namespace::new(""),
        Scope::Namespaced => read_namespace(&metadata.get("namespace"), found)?,
    };
    Some(Meta {
        namespace,
        name,
        labels: labels.labels(&mut Findings::default()),
        annotations: metadata.get("annotations").labels(found),
        created: read_time(&metadata.get("creationTimestamp"), found),
    })
}

/// What Istio's webhook refuses whatever the kind; false if it looks no further.
pub(super) fn check_annotations(document: &Node<'_>, meta: &Meta, found: &mut Findings) -> bool {
    let annotations = document.get("metadata").get("annotations");
    if meta.annotations.contains_key("istio.io/dry-run") {
        let message = format!(
            "{}/{} has unsupported annotation istio.io/dry-run, please remove the annotation",
            meta.namespace, meta.name
        );
        found.error(&annotations.get("istio.io/dry-run"), message);
        return false;
    }
    let refused = REFUSED_ANNOTATIONS
        .iter()
        .find(|(key, _)| meta.annotations.contains_key(*key));
    if let Some((key, message)) = refused {
        found.error(&annotations.get(key), format!("{key:?} {message}"));
    }
    refused.is_none()
}

fn read_name(at: &Node<'_>, found: &mut Findings) -> Option<String> {
    let before = found.errors.len();
    let text = at.text(found);
    if found.errors.len() > before {
        return None;
    }
    if text.is_empty() {
        found.error(at, "Required value: name or generateName is required");
        return None;
    }
    if !name::is_object_name(text) {
        let message = format!(
            "Invalid value: {text:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        );
        found.error(at, message);
    }
    Some(text.to_owned())
}

fn read_namespace(at: &Node<'_>, found: &mut Findings) -> Option<Namespace> {
    let before = found.errors.len();
    let text = match at.text(found) {
        "" => Namespace::DEFAULT,
        text => text,
    };
    if found.errors.len() > before {
        return None;
    }
    if !name::is_namespace(text) {
        let message = format!(
            "Invalid value: {text:?}: a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'"
        );
        found.error(at, message);
    }
    Some(Namespace::new(text))
}

fn read_time(at: &Node<'_>, found: &mut Findings) -> Option<i64> {
    let text = at.optional_text(found)?;
    let seconds = parse_time(text.value);
    if seconds.is_none() && !text.value.is_empty() {
        let message = format!("Invalid value: {:?}: must be a time as in RFC 3339", text.value);
        found.error(at, message);
    }
    seconds
}

/// Seconds since 1970 of an RFC 3339 time, whose fraction is dropped.
fn parse_time(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-')?;
    let zone_at = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone_at);
    let clock = match clock.split_once('.') {
        Some((clock, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => clock,
        Some(_) => return None,
        None => clock,
    };
    let [hour, minute, second] = numbers(clock, ':')?;
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers(&zone[1..], ':')?;
            let minutes = hours * 60 + minutes;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let fits =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    fits.then(|| days_since_1970(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second)
}

fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for number in &mut numbers {
        let part = parts.next()?;
        let is_number = matches!(part.len(), 2 | 4) && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 in the Gregorian calendar: years begin in March, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T12:00:00Z", 1_709_208_000),
            ("2026-08-22T15:00:18-05:00", 1_787_428_818),
            ("2026-08-22T20:00:18.5Z", 1_787_428_818),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2026-08-22",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "yesterday",
            "T:Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
