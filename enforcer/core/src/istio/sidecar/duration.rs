//! Durations in Go's notation, `1h30m` or `1.5s`, and Istio's rule that they are whole milliseconds.

use crate::istio::node::{Findings, Node};

const MILLISECOND: i128 = 1_000_000;

/// A duration of at least a millisecond, if there is one.
pub(super) fn check(at: &Node<'_>, found: &mut Findings) {
    check_if(at, |_| true, found);
}

/// The same, but zero is one too: no time-out at all.
pub(super) fn check_or_zero(at: &Node<'_>, found: &mut Findings) {
    check_if(at, |nanoseconds| nanoseconds / MILLISECOND != 0, found);
}

fn check_if(at: &Node<'_>, matters: impl Fn(i128) -> bool, found: &mut Findings) {
    let Some(text) = at.optional_text(found) else {
        return;
    };
    let Some(nanoseconds) = parse(text.value) else {
        let message = format!(
            "Invalid value: {:?}: must be a valid duration greater than 1ms",
            text.value
        );
        return found.error(at, message);
    };
    if !matters(nanoseconds) {
        return;
    }
    if nanoseconds < MILLISECOND {
        found.error(at, "duration must be greater than 1ms");
    } else if nanoseconds % MILLISECOND != 0 {
        found.error(at, "only durations to ms precision are supported");
    }
}

/// Nanoseconds.
fn parse(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    loop {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let term = amount(number)?.checked_mul(unit_nanoseconds(unit)?)?;
        total = total.checked_add(term / SCALE)?;
        if tail.is_empty() {
            let fits = total <= i128::from(i64::MAX);
            return fits.then_some(sign * total);
        }
        rest = tail;
    }
}

/// What an amount is counted in, so that it may have nine digits after the point.
const SCALE: i128 = 1_000_000_000;

fn amount(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let number = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<i128>().ok()
        }
    };
    let fraction = fraction.get(..fraction.len().min(9))?;
    let exponent = u32::try_from(9 - fraction.len()).ok()?;
    let fraction = number(fraction)?.checked_mul(10_i128.pow(exponent))?;
    number(whole)?.checked_mul(SCALE)?.checked_add(fraction)
}

fn unit_nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => MILLISECOND,
        "s" => 1_000 * MILLISECOND,
        "m" => 60_000 * MILLISECOND,
        "h" => 3_600_000 * MILLISECOND,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, nanoseconds) in [
            ("0", Some(0)),
            ("1s", Some(1_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1ms", Some(-1_000_000)),
            (".5s", Some(500_000_000)),
            ("100µs", Some(100_000)),
            ("", None),
            ("1", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("1d", None),
            ("99999999999999999999999999999999999999999h", None),
        ] {
            assert_eq!(parse(text), nanoseconds, "{text}");
        }
    }
}
