//! Writes the log and Kubernetes Events for the programs' decisions, and provides the status.
//!
//! **Architecture Invariant:** nothing here changes what is enforced.

mod duplicates;
mod explain;
mod flows;
mod inside;
mod live;
mod names;
mod observer;
mod status;
mod suspicious;
mod unbound;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    sync::Arc,
};

use enforcer_common::{CgroupId, Counter};
use tokio::sync::mpsc;

use super::{ingest::Ingest, reconciler::Reconciler};
use crate::{
    config::Enforcement,
    control::AllowAny,
    datapath::Batch,
    metrics::Ledger,
    report::{
        dedup::{Dedup, IN_STATUS},
        escape::Line,
        log::LogFormat,
        notice::Notice,
    },
};

use flows::Flows;
pub(super) use inside::inside;
pub(super) use live::explain_live;
pub(super) use names::names;
pub(super) use observer::Observer;
pub(super) use status::absent;
use suspicious::Suspicious;

pub(super) struct Reporter {
    flows: Flows,
    pub(super) observer: Observer,
    format: LogFormat,
    mode: Enforcement,
    /// Events that this version cannot decode and that were not reported yet.
    unknown: u64,
    /// Pods that run where nothing enforces them, as last said.
    unbound: Dedup,
    /// What was said of the registry as a whole.
    suspicious: Suspicious,
    /// Events that were lost, as last said; pinned counters go on counting between starts.
    lost: u64,
}

impl Reporter {
    /// Reports decisions from now on; the counters are those of an earlier start. `notices` is the queue of Kubernetes
    /// Events; None without an API server.
    pub(super) fn new(
        format: LogFormat,
        mode: Enforcement,
        notices: Option<mpsc::Sender<Notice>>,
        (counted, observer): (Counted, Observer),
    ) -> Self {
        let mut flows = Flows::new(format, notices, counted.ledger);
        flows.suppressed.skip(counted.suppressed);
        Self {
            flows,
            observer,
            format,
            mode,
            unknown: 0,
            unbound: Dedup::listed(IN_STATUS),
            suspicious: Suspicious::default(),
            lost: counted.lost,
        }
    }

    /// Another configuration has this mode.
    pub(super) fn set_mode(&mut self, mode: Enforcement) {
        self.mode = mode;
    }

    /// Reports events, workload by workload in turn.
    pub(super) fn write(&mut self, batch: Batch, ingest: &mut Ingest, reconciler: &Reconciler) {
        for decision in &batch.decisions {
            if !reconciler.is_canary(decision.cgroup) {
                self.flows
                    .write(decision, (ingest, reconciler), &mut self.observer);
            }
        }
        self.unknown += batch.unknown;
        self.flows.add_suppressed(batch.left_out, ingest);
    }

    /// Reports how many events were suppressed or lost since the last call.
    pub(super) fn report_suppressed(&mut self, reconciler: &mut Reconciler, ingest: &Ingest) {
        self.report_lost(reconciler);
        match std::mem::take(&mut self.unknown) {
            0 => {}
            unknown => tracing::warn!(
                "{unknown} events of the programs in the kernel are not in the log: this version cannot decode them, \
                 because another version of the enforcer has attached programs to the same cgroups"
            ),
        }
        match reconciler.suppressed() {
            Ok(counted) => {
                let news = self.flows.suppressed.news(counted);
                self.flows.add_suppressed(news, ingest);
            }
            Err(error) => tracing::error!(
                "cannot read from the kernel how many events of each workload were suppressed; enforcement is not \
                 affected: {error:#}"
            ),
        }
        self.observer.count_unseen(reconciler);
        self.flows.add_suppressed(reconciler.write_memory(), ingest);
        self.flows.say_suppressed(ingest);
    }

    /// Reports how many events did not fit the ring buffer.
    fn report_lost(&mut self, reconciler: &Reconciler) {
        let counters = match reconciler.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!(
                    "cannot read from the kernel how many events did not fit the ring buffer; enforcement is not \
                     affected: {error:#}"
                );
                return;
            }
        };
        let lost = counters.get(&Counter::Lost).copied().unwrap_or_default();
        if lost > self.lost {
            tracing::warn!(
                "{} events were not logged: the ring buffer was full; enforcement is not affected",
                lost - self.lost
            );
        }
        self.lost = lost;
    }

    /// The line that scripts wait for, and what is missing.
    pub(super) fn announce(&self, ingest: &Ingest, reconciler: &Reconciler) {
        let line = self.line(ingest, reconciler);
        // A closed standard output does not change what is enforced.
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            tracing::warn!(
                "cannot write {line:?} to standard output ({error}): enforcement is in force, but a program that \
                 waits for this line does not get it"
            );
        }
        if reconciler.applied().workloads.is_empty() {
            tracing::warn!(
                "no configured workload has a cgroup yet; each is enforced once its cgroup appears"
            );
        }
        for root in ingest.root_states() {
            if root.is_required && !root.is_there {
                tracing::warn!(
                    "the root {} does not exist: nothing is enforced below it until it is created",
                    root.path.display()
                );
            }
        }
    }

    fn line(&self, ingest: &Ingest, reconciler: &Reconciler) -> String {
        let applied = reconciler.applied();
        let (workloads, policies) = (applied.workloads.len(), applied.policies.len());
        let rules: usize = applied.scopes.values().map(|rules| rules.len()).sum();
        let unbound = ingest.unbound_now();
        let message = if unbound > 0 && workloads == 0 {
            "enforcement has begun, and none of the pods that run on this node is enforced"
        } else {
            "enforcement is in force"
        };
        let allow_any = status::allow_any(ingest, reconciler);
        match self.format {
            LogFormat::Human | LogFormat::Journal => {
                let mut but = String::new();
                if !allow_any.is_empty() {
                    but = format!("; but {}", AllowAny(&allow_any));
                }
                if unbound > 0 {
                    but = format!("{but}; but not for {unbound} of the pods that run on this node");
                }
                let line =
                    format!("{message}: workloads {workloads}, policies {policies}, rules {rules}{but}");
                Line(line).to_string()
            }
            LogFormat::Json => {
                let counts =
                    serde_json::json!({ "workloads": workloads, "policies": policies, "rules": rules });
                let mut line = serde_json::json!({ "message": message, "counts": counts });
                if !allow_any.is_empty() {
                    line["allowAny"] = allow_any.into();
                }
                if unbound > 0 {
                    line["unboundPods"] = unbound.into();
                }
                line.to_string()
            }
        }
    }
}

/// What earlier starts have counted.
pub(super) struct Counted {
    pub(super) suppressed: BTreeMap<CgroupId, u64>,
    pub(super) lost: u64,
    /// Where events that are left out are counted from now on.
    pub(super) ledger: Arc<Ledger>,
}
