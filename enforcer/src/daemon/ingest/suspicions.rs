//! What is suspicious, and what runs where nothing enforces it, in words.

use std::collections::BTreeSet;

use super::Ingest;
use crate::{
    config::Warning,
    sources::cgroups::{Misplaced, Unused},
};

impl Ingest {
    /// Units that run where nothing enforces them, and what to do.
    pub(in crate::daemon) fn misplacements_now(&self) -> BTreeSet<String> {
        let problem = |misplaced: &Misplaced| {
            let Misplaced { unit, at } = misplaced;
            format!(
                "{unit} runs outside its slice, at {}, where nothing enforces it: `systemctl daemon-reload`, then \
                 `systemctl restart {unit}`",
                at.display()
            )
        };
        self.misplaced.iter().map(problem).collect()
    }

    /// What is suspicious now.
    pub(in crate::daemon) fn suspicions(&mut self) -> BTreeSet<String> {
        let of_files = self.documents.warnings();
        let of_files = of_files.iter().map(ToString::to_string);
        let warnings = self.registry.warnings();
        let unused = self.unused.iter().map(|Unused { path, similar }| {
            format!(
                "nothing has been in {} for a minute, while {} is in use: is that meant?",
                path.display(),
                similar.display()
            )
        });
        let of_configuration = self.of_configuration.iter().cloned();
        of_files
            .chain(warnings.iter().map(ToString::to_string))
            .chain(unused)
            .chain(of_configuration)
            .collect()
    }
}

pub(super) fn of_line(warning: &Warning) -> String {
    format!("configuration, line {warning}")
}
