//! How something grows over something else.

/// `y = factor * x ^ slope`, as near as can be: 0 is flat, 1 is linear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// The power.
    pub slope: f64,
    /// What it is at 1.
    pub factor: f64,
}

impl Growth {
    /// What is fitted for `x`.
    pub fn at(self, x: f64) -> f64 {
        self.factor * x.powf(self.slope)
    }
}

/// The line with the least squares through the logarithms of the points that have them. None through fewer than two
/// different places.
pub fn growth(points: &[(f64, f64)]) -> Option<Growth> {
    let logs: Vec<_> = points
        .iter()
        .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let count = logs.len() as f64;
    let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / count;
    let square = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum::<f64>();
    let product = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>();
    // Also false for the NaN of no points at all.
    (square > 1e-9).then(|| {
        let slope = product / square;
        Growth {
            slope,
            factor: (mean_y - slope * mean_x).exp(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(grow: fn(f64) -> f64, slope: f64, factor: f64) {
        let points: Vec<_> = [1.0, 1e3, 1e5].map(|x| (x, grow(x))).to_vec();
        let found = growth(&points).unwrap();
        assert!((found.slope - slope).abs() < 1e-9, "{found:?}");
        assert!((found.factor - factor).abs() < 1e-9, "{found:?}");
        assert!((found.at(1e3) / grow(1e3) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn slope_tells_flat_from_linear() {
        check(|_| 85.0, 0.0, 85.0);
        check(|x| 0.5 * x, 1.0, 0.5);
        check(|x| 3.0 * x * x, 2.0, 3.0);
    }

    #[test]
    fn nothing_is_fitted_through_one_place() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[(10.0, 1.0), (10.0, 2.0)]), None);
        assert_eq!(growth(&[(0.0, 1.0), (10.0, 2.0)]), None);
    }
}
