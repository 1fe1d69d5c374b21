//! What is measured: samples by round, what can be said of them, and the goals that they are held against.
//!
//! ```text
//! a bench -> Figure (a file for each) -> a table, plots, a document
//! ```
//!
//! **Architecture Invariant:** every sample is kept as it was taken. A statistic is worked out of all of them, when it is
//! asked for: nothing is sorted into buckets on the way.

mod goal;
mod growth;
mod series;
mod spread;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use goal::{Goal, Sense};
pub use growth::{Growth, growth};
pub use series::{Axis, Series};
pub use spread::{Spread, greatest, percentile, ratios};

/// One question that is answered by measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// In file names and on the command line: `connect-tcp`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Of all samples: `us`, `MB`, `1/s`.
    pub unit: String,
    /// The subject that all others are compared with, if there is one: `none`.
    pub beside: Option<String>,
    /// What was measured.
    pub series: Vec<Series>,
    /// What was promised, and what has come of it.
    pub goals: Vec<Goal>,
    /// What a reader of the numbers has to know.
    pub notes: Vec<String>,
    /// What could not be measured, and why.
    pub skipped: Vec<String>,
}

impl Figure {
    /// One without samples.
    pub fn new(name: &str, title: &str, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            ..Self::default()
        }
    }

    /// The series of a subject in a case, at a place on its axis if it has one.
    pub fn find(&self, case: &str, subject: &str, at: Option<f64>) -> Option<&Series> {
        self.series.iter().find(|series| {
            series.case == case
                && series.subject == subject
                && series.axis.as_ref().map(|axis| axis.value) == at
        })
    }

    /// What a series is compared with: that of [`Figure::beside`] in the same case, at the same place of the axis or,
    /// where that subject has no axis, the only one.
    pub fn beside(&self, series: &Series) -> Option<&Series> {
        let beside = self
            .beside
            .as_deref()
            .filter(|beside| *beside != series.subject)?;
        let at = series.axis.as_ref().map(|axis| axis.value);
        self.find(&series.case, beside, at)
            .or_else(|| self.find(&series.case, beside, None))
    }

    /// The file of the figure `name` in `folder`.
    pub fn file(folder: &Path, name: &str) -> PathBuf {
        folder.join(name).with_added_extension("json")
    }

    /// Writes it to its file, and says which that is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let file = Self::file(folder, &self.name);
        fs::write(&file, serde_json::to_string(self)?)?;
        Ok(file)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it is none of [`Figure::write`].
    pub fn read(file: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let mut figure = Figure::new("connect", "A connect", "us");
        figure.beside = Some("none".to_owned());
        figure.series = vec![
            Series::new("tcp", "none", vec![1.0, 2.0]),
            Series::new("tcp", "ours", vec![1.5, 2.5]).at("rules", 1.0),
            Series::new("udp", "ours", vec![0.1]).at("rules", 1.0),
        ];
        figure
    }

    #[test]
    fn figure_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("figure-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut figure = figure();
        figure.goals = vec![Goal::at_most("within 1 %", 1.02, 1.01)];
        let file = figure.write(&folder).unwrap();
        assert_eq!(file, Figure::file(&folder, "connect"));
        assert_eq!(Figure::read(&file).unwrap(), figure);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn subject_is_compared_in_its_own_case() {
        let figure = figure();
        assert_eq!(figure.beside(&figure.series[1]), Some(&figure.series[0]));
        assert_eq!(figure.beside(&figure.series[0]), None);
        assert_eq!(figure.beside(&figure.series[2]), None);
    }
}
