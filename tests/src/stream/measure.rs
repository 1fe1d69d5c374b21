//! Paired measurements, and what can be said of their median.

use std::fmt;

use anyhow::Result;

use super::Block;

/// A median with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    pub(super) fn new(low: f64, median: f64, high: f64) -> Self {
        Self { low, median, high }
    }

    /// For people.
    pub fn text(self) -> String {
        format!("{:.4} [{:.4}, {:.4}]", self.median, self.low, self.high)
    }

    /// Of the values' median, whatever they are distributed like: between two of them, whose ranks are those between
    /// which 95 % of a binomial distribution with p = 1/2 lie.
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let count = f64::from(u32::try_from(values.len()).expect("a few thousand"));
        let at = |rank: f64| {
            let rank = rank.clamp(0.0, count - 1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and the number of values"
            )]
            values[rank as usize]
        };
        let (middle, reach) = ((count - 1.0) / 2.0, 0.98 * count.sqrt());
        Self {
            low: at((middle - reach).floor()),
            median: f64::midpoint(at(middle.floor()), at(middle.ceil())),
            high: at((middle + reach).ceil()),
        }
    }
}

/// `low median high`
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.5} {:.5} {:.5}", self.low, self.median, self.high)
    }
}

/// The throughput of `b` over that of `a`.
pub(super) fn compare(groups: usize, a: &mut Block<'_>, b: &mut Block<'_>) -> Result<Interval> {
    let pairs = pairs(groups, a, b)?;
    Ok(Interval::of(
        pairs.into_iter().map(|(of_a, of_b)| of_a / of_b).collect(),
    ))
}

/// How much longer each of the `parts` of `b` takes than one of `a`, in microseconds.
pub(super) fn delay(groups: usize, parts: u32, a: &mut Block<'_>, b: &mut Block<'_>) -> Result<Interval> {
    let pairs = pairs(groups, a, b)?;
    // Each time is that of two blocks.
    let each = 1e6 / (2.0 * f64::from(parts));
    Ok(Interval::of(
        pairs
            .into_iter()
            .map(|(of_a, of_b)| (of_b - of_a) * each)
            .collect(),
    ))
}

/// The times of each group.
fn pairs(groups: usize, a: &mut Block<'_>, b: &mut Block<'_>) -> Result<Vec<(f64, f64)>> {
    // Caches, windows and buffers settle.
    for _ in 0..groups.div_ceil(20) {
        a()?;
        b()?;
    }
    let mut pairs = Vec::new();
    for group in 0..groups {
        // Which is first alternates too.
        let (of_a, of_b) = if group % 2 == 0 {
            outer_and_inner(a, b)?
        } else {
            let (of_b, of_a) = outer_and_inner(b, a)?;
            (of_a, of_b)
        };
        pairs.push((of_a, of_b));
    }
    Ok(pairs)
}

fn outer_and_inner(outer: &mut Block<'_>, inner: &mut Block<'_>) -> Result<(f64, f64)> {
    let first = outer()?;
    let between = inner()? + inner()?;
    Ok((first + outer()?, between))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn interval_lies_around_the_median_by_rank() {
        let interval = Interval::of((0..100).rev().map(f64::from).collect());
        assert_eq!(interval, Interval::new(39.0, 49.5, 60.0));
        assert_eq!(Interval::of(vec![7.0]), Interval::new(7.0, 7.0, 7.0));
    }

    #[test]
    fn drift_falls_on_both() {
        let clock = AtomicU32::new(100);
        let tick = |factor: f64| f64::from(clock.fetch_add(1, Ordering::Relaxed)) * factor;
        let (mut a, mut b): (Block<'_>, Block<'_>) = (Box::new(|| Ok(tick(1.0))), Box::new(|| Ok(tick(2.0))));
        let found = compare(50, &mut a, &mut b).expect("it cannot fail").median;
        assert!((found - 0.5).abs() < 1e-9, "{found}");
    }
}
