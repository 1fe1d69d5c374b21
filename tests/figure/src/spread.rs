//! What can be said of samples: their median, and between which values most of them lie.

/// A median with the 10th and the 90th percentile, each between the samples nearest to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The 10th percentile.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The 90th percentile.
    pub high: f64,
}

impl Spread {
    /// Of samples in any order; none without any.
    pub fn of(samples: &[f64]) -> Option<Self> {
        Some(Self {
            low: percentile(samples, 10.0)?,
            median: percentile(samples, 50.0)?,
            high: percentile(samples, 90.0)?,
        })
    }
}

/// The ratios of `samples` to those of the same rounds `beside` them: a drift of the machine falls on both. Rounds that
/// only one of them has are left out.
pub fn ratios(samples: &[f64], beside: &[f64]) -> Vec<f64> {
    samples
        .iter()
        .zip(beside)
        .map(|(own, other)| own / other)
        .collect()
}

/// The value below which so many of a hundred samples lie, in proportion between two of them; none without any.
pub fn percentile(samples: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let rank = percent / 100.0 * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and the number of samples"
    )]
    let below = (rank.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let part = rank - below as f64;
    Some(sorted[below] * (1.0 - part) + sorted[above] * part)
}

/// The greatest of them; no number if there is none, or one of them is no number, so that no goal is met by what is
/// missing.
pub fn greatest(values: impl IntoIterator<Item = f64>) -> f64 {
    let values = values.into_iter();
    let greatest = values.reduce(|one, other| if one.is_nan() || other < one { one } else { other });
    greatest.unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_lies_between_the_samples_nearest_to_it() {
        let samples: Vec<f64> = (0..=10).rev().map(f64::from).collect();
        let spread = Spread {
            low: 1.0,
            median: 5.0,
            high: 9.0,
        };
        assert_eq!(Spread::of(&samples), Some(spread));
        assert_eq!(percentile(&[1.0, 2.0], 50.0), Some(1.5));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn drift_of_the_machine_falls_on_both_sides_of_a_ratio() {
        let none: Vec<f64> = (100..150).map(f64::from).collect();
        let ours: Vec<f64> = none.iter().map(|sample| sample * 1.5).collect();
        let spread = Spread::of(&ratios(&ours, &none)).unwrap();
        assert!((spread.low - 1.5).abs() < 1e-12 && (spread.high - 1.5).abs() < 1e-12);
    }
    #[test]
    fn what_is_missing_is_not_the_least() {
        assert!(greatest([]).is_nan());
        assert!(greatest([1.0, f64::NAN]).is_nan() && greatest([f64::NAN, 1.0]).is_nan());
        assert!(greatest([1.0, 3.0, 2.0]) >= 3.0);
    }
}
