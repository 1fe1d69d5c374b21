//! What is suspicious, and what runs where nothing enforces it, in words.

use std::{collections::BTreeSet, sync::Arc};

use enforcer_core::registry::Warning as Suspicion;

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

    /// What is suspicious about the registry as a whole. It is worked out again only after a change.
    pub(in crate::daemon) fn of_registry(&mut self) -> Arc<BTreeSet<Suspicion>> {
        let known = self.of_registry.take();
        let now = known.unwrap_or_else(|| Arc::new(self.registry.warnings()));
        self.of_registry = Some(Arc::clone(&now));
        now
    }

    /// What is suspicious now about files, cgroups and the configuration.
    pub(in crate::daemon) fn suspicions(&self) -> BTreeSet<String> {
        let of_files = self.documents.warnings();
        let of_files = of_files.iter().map(ToString::to_string);
        let unused = self.unused.iter().map(|Unused { path, similar }| {
            format!(
                "nothing has been in {} for a minute, while {} is in use: is that meant?",
                path.display(),
                similar.display()
            )
        });
        let of_configuration = self.of_configuration.iter().cloned();
        of_files.chain(unused).chain(of_configuration).collect()
    }
}

pub(super) fn of_line(warning: &Warning) -> String {
    format!("configuration, line {warning}")
}
