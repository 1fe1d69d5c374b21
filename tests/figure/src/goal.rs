//! What is promised.

use serde::{Deserialize, Serialize};

/// A promise, and what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is promised: `TCP on one processor within 1 % of none, at 1 rule`.
    pub text: String,
    /// What was measured, in the unit that the text says, or as a ratio.
    pub measured: f64,
    /// What it is held against.
    pub limit: f64,
    /// On which side of the limit it has to be.
    pub sense: Sense,
}

/// On which side of its limit a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sense {
    /// The limit and less.
    AtMost,
    /// The limit and more.
    AtLeast,
}

impl Goal {
    /// Met by the limit and less.
    pub fn at_most(text: &str, measured: f64, limit: f64) -> Self {
        Self::new(text, Sense::AtMost, measured, limit)
    }

    /// Met by the limit and more.
    pub fn at_least(text: &str, measured: f64, limit: f64) -> Self {
        Self::new(text, Sense::AtLeast, measured, limit)
    }

    fn new(text: &str, sense: Sense, measured: f64, limit: f64) -> Self {
        Self {
            text: text.to_owned(),
            measured,
            limit,
            sense,
        }
    }

    /// By how much it is missed; none if it is met.
    pub fn missed_by(&self) -> Option<f64> {
        let over = match self.sense {
            Sense::AtMost => self.measured - self.limit,
            Sense::AtLeast => self.limit - self.measured,
        };
        // What is no number meets nothing.
        (over.is_nan() || over > 0.0).then_some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_met_on_its_side_of_the_limit_and_at_it() {
        assert_eq!(Goal::at_most("", 1.0, 1.0).missed_by(), None);
        assert_eq!(Goal::at_most("", 1.5, 1.0).missed_by(), Some(0.5));
        assert_eq!(Goal::at_least("", 2.5, 2.0).missed_by(), None);
        assert_eq!(Goal::at_least("", 1.5, 2.0).missed_by(), Some(0.5));
        assert!(Goal::at_most("", f64::NAN, 1.0).missed_by().is_some());
    }
}
