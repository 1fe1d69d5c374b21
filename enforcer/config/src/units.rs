//! Durations as people write them, `500ms`, `60s`, `5m`, `1h30m`, and whole paths.

use std::{path::PathBuf, time::Duration};

/// Reads a duration; the error is the rest of a sentence.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write it like 500ms, 60s, 5m or 1h30m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" => return Err(format!("{text:?} has no unit; write {text}s for seconds")),
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        total = number
            .checked_mul(milliseconds)
            .and_then(|part| total.checked_add(Duration::from_millis(part)))
            .ok_or_else(wrong)?;
    }
    Ok(total)
}

/// A path that depends on nothing else.
pub(super) fn absolute(path: &str) -> Result<PathBuf, String> {
    if path.starts_with('/') {
        Ok(path.into())
    } else {
        Err(format!("{path:?} is relative; write the whole path"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("60s", 60_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            " ",
            "s",
            "-1s",
            "1.5s",
            "5 m",
            "5x",
            "1e3s",
            "5mm",
            "m5",
            "99999999999999999999s",
            "18446744073709551615h",
            "５s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(
            duration("60"),
            Err("\"60\" has no unit; write 60s for seconds".into())
        );
    }
}
