//! What the owner knows, for the control socket.

use enforcer_common::Counter;

use super::Reporter;
use crate::{
    config::Enforcement,
    control::{Standing, StandingRoot, Untold, Usage},
    daemon::{ingest::Ingest, reconciler::Reconciler},
};

impl Reporter {
    /// How everything stands now.
    pub(in crate::daemon) fn status(&self, ingest: &Ingest, reconciler: &Reconciler) -> Standing {
        let mut problems = reconciler.problems();
        let lost = match reconciler.counters() {
            Ok(counters) => counters.get(&Counter::Lost).copied(),
            Err(error) => {
                problems.push(format!("{error:#}"));
                None
            }
        };
        let (workloads, pods) = ingest.counts();
        Standing {
            mode: match self.mode {
                Enforcement::Enforce => "enforce",
                Enforcement::Audit => "audit",
            },
            roots: roots(ingest),
            closures: reconciler.closures().to_vec(),
            usage: usage(reconciler),
            rejected: ingest.rejected(),
            file_objects: ingest.file_objects(),
            workloads,
            pods,
            lost: lost.unwrap_or_default(),
            untold: self.untold(),
            problems,
        }
    }

    /// Of which workloads events were left out of the log, the most first.
    fn untold(&self) -> Vec<Untold> {
        let all = self.flows.untold.all();
        let mut all: Vec<_> = all
            .map(|(workload, events)| Untold {
                workload: workload.to_owned(),
                events,
            })
            .collect();
        all.sort_by_key(|untold| std::cmp::Reverse(untold.events));
        all
    }
}

fn roots(ingest: &Ingest) -> Vec<StandingRoot> {
    let roots = ingest.root_paths().map(|path| StandingRoot {
        path: path.to_owned(),
        is_there: ingest.cgroups().values().any(|cgroup| cgroup.path == path),
    });
    roots.collect()
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
