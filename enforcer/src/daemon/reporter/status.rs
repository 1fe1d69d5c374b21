//! What the owner knows, for the control socket.

use std::collections::BTreeSet;

use enforcer_common::{Binding, Counter, Mode};

use super::Reporter;
use crate::{
    config::Enforcement,
    control::{OwnerStatus, Suppressed, Usage},
    daemon::{ingest::Ingest, reconciler::Reconciler},
};

impl Reporter {
    /// How everything stands now.
    pub(in crate::daemon) fn status(&self, ingest: &mut Ingest, reconciler: &Reconciler) -> OwnerStatus {
        let mut problems = reconciler.problems(ingest);
        problems.extend(ingest.problems());
        let lost = match reconciler.counters() {
            Ok(counters) => counters.get(&Counter::Lost).copied(),
            Err(error) => {
                problems.push(format!("{error:#}"));
                None
            }
        };
        let (workloads, pods) = ingest.counts();
        OwnerStatus {
            mode: match self.mode {
                Enforcement::Enforce => "enforce",
                Enforcement::Audit => "audit",
            },
            allow_any: allow_any(ingest, reconciler),
            roots: ingest.root_states(),
            closures: reconciler.closures().to_vec(),
            usage: usage(reconciler),
            rejected: ingest.rejected(),
            warnings: ingest.suspicions().into_iter().collect(),
            file_objects: ingest.file_objects(),
            workloads,
            pods,
            lost: lost.unwrap_or_default(),
            suppressed: self.suppressed(),
            problems,
        }
    }

    /// Of which workloads events were left out of the log, the most first.
    fn suppressed(&self) -> Vec<Suppressed> {
        let all = self.flows.suppressed.all();
        let mut all: Vec<_> = all
            .map(|(workload, events)| Suppressed {
                workload: workload.to_owned(),
                events,
            })
            .collect();
        all.sort_by_key(|suppressed| std::cmp::Reverse(suppressed.events));
        all
    }
}

/// Workloads that may reach everything by ALLOW_ANY.
pub(super) fn allow_any(ingest: &Ingest, reconciler: &Reconciler) -> Vec<String> {
    let applied = reconciler.applied();
    let is_let_through = |binding: &Binding| {
        let policy = applied.policies.get(&binding.policy);
        policy.is_some_and(|policy| policy.mode == Mode::Observe as u32)
    };
    let bound = applied.workloads.iter();
    let let_through = bound.filter(|(_, binding)| is_let_through(binding));
    let names = let_through.filter_map(|(workload, _)| ingest.workload(*workload));
    let names: BTreeSet<_> = names.map(ToString::to_string).collect();
    names.into_iter().collect()
}

/// What is in each map, the canary's left out.
fn usage(reconciler: &Reconciler) -> Vec<Usage> {
    let tables = reconciler.capacity().report().tables.iter();
    let usage = tables.map(|(table, usage)| Usage {
        name: table.to_string(),
        used: usage.used,
        capacity: usage.capacity,
        needed: usage.needed,
    });
    usage.collect()
}
