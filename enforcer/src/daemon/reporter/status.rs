//! What the owner knows, for the control socket.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use enforcer_common::{Binding, CgroupId, Counter, Mode};

use super::Reporter;
use crate::{
    config::Enforcement,
    control::{Learning, OwnerStatus, Suppressed, Unjudged, Usage},
    daemon::{
        ingest::{Ingest, lines},
        reconciler::Reconciler,
    },
};

/// The most warnings that the status has; the others are counted.
const NAMED: usize = 100;

impl Reporter {
    /// How everything stands now.
    pub(in crate::daemon) fn status(&self, ingest: &mut Ingest, reconciler: &Reconciler) -> OwnerStatus {
        let mut problems = reconciler.problems(ingest);
        problems.extend(ingest.problems());
        let counters = or_problem(reconciler.counters(), &mut problems);
        let learners = or_problem(reconciler.learners(), &mut problems);
        let mut misplaced: Vec<_> = ingest.misplacements_now().into_iter().collect();
        misplaced.extend(lines(&ingest.unbound()));
        let (workloads, pods) = ingest.counts();
        let mut warnings: Vec<_> = ingest.suspicions().into_iter().collect();
        warnings.extend(self.suspicious(ingest));
        warnings.extend(ingest.strangers());
        let warnings_in_all = warnings.len();
        let count = |counter| counters.get(&counter).copied().unwrap_or_default();
        warnings.truncate(NAMED);
        OwnerStatus {
            mode: match self.mode {
                Enforcement::Enforce => "enforce",
                Enforcement::Audit => "audit",
            },
            allow_any: allow_any(ingest, reconciler),
            roots: ingest.root_states(),
            closures: reconciler.closures().to_vec(),
            usage: usage(reconciler),
            misplaced,
            rejected: ingest.rejected(),
            warnings,
            warnings_in_all,
            conflicts: self.conflicts(ingest),
            objects: ingest.objects(),
            unjudged: Unjudged {
                loopback: count(Counter::Loopback),
                opted_in: count(Counter::OptedIn),
            },
            file_objects: ingest.file_objects(),
            workloads,
            pods,
            learning: learning(&counters, &learners, absent(ingest, reconciler)),
            lost: count(Counter::Lost),
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

/// What the kernel says; nothing, and a problem, if it does not.
fn or_problem<T: Default>(outcome: Result<T>, problems: &mut Vec<String>) -> T {
    outcome.unwrap_or_else(|error| {
        problems.push(format!("{error:#}"));
        T::default()
    })
}

/// Why nothing is learned of names.
pub(in crate::daemon) fn absent(ingest: &Ingest, reconciler: &Reconciler) -> Option<String> {
    if !ingest.learns() {
        return Some("the configuration has it off (dns.learn.enabled)".to_owned());
    }
    let mut closures = reconciler.closures().iter();
    let program = closures.find(|closure| closure.is_for_names() && closure.absent.is_some())?;
    Some(format!("{}: {}", program.program, program.absent.as_ref()?))
}

fn learning(
    counters: &BTreeMap<Counter, u64>,
    learners: &BTreeMap<CgroupId, u64>,
    absent: Option<String>,
) -> Learning {
    let count = |counter| counters.get(&counter).copied().unwrap_or_default();
    Learning {
        absent,
        addresses: learners.values().sum(),
        workloads: learners.values().filter(|addresses| **addresses > 0).count(),
        answers: count(Counter::Answers),
        unasked: count(Counter::Unasked),
        malformed: count(Counter::Malformed),
        oversized: count(Counter::Oversized),
        protected: count(Counter::Protected),
        unlearned: count(Counter::Unlearned),
        displaced: count(Counter::Displaced),
    }
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
