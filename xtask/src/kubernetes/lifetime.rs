//! How long lives what nobody takes down.

use std::time::Duration;

/// Seconds, or a number of them, of minutes or of hours: `90`, `90s`, `20m`, `3h`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text} is not a time such as 90s, 20m or 3h"))?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text} is too short or too long")),
    }
}

/// If nobody asks for another.
pub(super) const DEFAULT: &str = "3h";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("20m", Some(1200)),
            ("3h", Some(10800)),
        ] {
            assert_eq!(parse(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for wrong in [
            "",
            "h",
            "0",
            "-1",
            "1d",
            "99999999999999999999h",
            "9999999999999999999h",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
