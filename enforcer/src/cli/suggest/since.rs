//! How long ago, or when.

use anyhow::{Context as _, Result, ensure};
use jiff::{Span, SpanRelativeTo, Timestamp};

/// A time, or as long before `now` as an age says. A day has 24 hours.
pub(super) fn time(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = || {
        format!("--since {text}: write an age such as 30m, 12h or 7d, or a time such as 2026-11-22T14:00:00Z")
    };
    let age: Span = text.parse().with_context(wrong)?;
    let age = age
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .with_context(wrong)?;
    ensure!(!age.is_negative(), wrong());
    now.checked_sub(age).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_times_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-22T14:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("30m", "2026-11-22T13:30:00Z"),
            ("1h30m", "2026-11-22T12:30:00Z"),
            ("12h", "2026-11-22T02:00:00Z"),
            ("7d", "2026-11-15T14:00:00Z"),
            ("2026-11-01T08:00:00Z", "2026-11-01T08:00:00Z"),
            ("2026-11-01T08:00:00+02:00", "2026-11-01T06:00:00Z"),
        ] {
            assert_eq!(time(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "7", "yesterday", "-1h", "1 fortnight", "99999999999999h"] {
            assert!(time(text, now).is_err(), "{text}");
        }
    }
}
