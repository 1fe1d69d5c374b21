//! The samples of one subject.

use serde::{Deserialize, Serialize};

use crate::Spread;

/// The samples of one subject in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What is done: `tcp, one processor`. Series of the same case are compared.
    pub case: String,
    /// Who does it: `none`, `ours`, `nftables`.
    pub subject: String,
    /// How much there is of what the figure grows over.
    pub axis: Option<Axis>,
    /// One value for each round, in their order: the rounds of a case are common to its subjects.
    pub samples: Vec<f64>,
}

/// A place on the axis of growth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What is counted: `rules`.
    pub name: String,
    /// How many.
    pub value: f64,
}

impl Series {
    /// Without an axis.
    pub fn new(case: &str, subject: &str, samples: Vec<f64>) -> Self {
        Self {
            case: case.to_owned(),
            subject: subject.to_owned(),
            axis: None,
            samples,
        }
    }

    /// The same at a place on an axis.
    #[must_use]
    pub fn at(mut self, axis: &str, value: f64) -> Self {
        self.axis = Some(Axis {
            name: axis.to_owned(),
            value,
        });
        self
    }

    /// Of its samples; none without any.
    pub fn spread(&self) -> Option<Spread> {
        Spread::of(&self.samples)
    }
}
