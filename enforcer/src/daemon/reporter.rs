//! What is told: the log's lines and Kubernetes' Events for what the programs decide, and the status.
//!
//! **Architecture Invariant:** nothing here changes what is enforced.

mod duplicates;
mod flows;
mod names;
mod status;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use enforcer_common::{CgroupId, Counter};
use tokio::sync::mpsc;

use super::{ingest::Ingest, reconciler::Reconciler};
use crate::{
    config::Enforcement,
    control::AllowAny,
    datapath::Batch,
    report::{escape::Line, log::LogFormat, notice::Notice},
};

use flows::Flows;
pub(super) use names::names;

pub(super) struct Reporter {
    flows: Flows,
    format: LogFormat,
    mode: Enforcement,
    /// Events that this version does not understand, of which nothing was said.
    unknown: u64,
    /// Events that were lost, as last said; pinned counters go on counting between starts.
    lost: u64,
}

impl Reporter {
    /// Tells of what is decided from now on; the counters are those of an earlier start. `notices` is where what users
    /// of Kubernetes should know goes; None if there is no Kubernetes.
    pub(super) fn new(
        format: LogFormat,
        mode: Enforcement,
        notices: Option<mpsc::Sender<Notice>>,
        counted: Counted,
    ) -> Self {
        let mut flows = Flows::new(format, notices);
        flows.untold.skip(counted.untold);
        Self {
            flows,
            format,
            mode,
            unknown: 0,
            lost: counted.lost,
        }
    }

    /// Tells of events, in turns of their workloads.
    pub(super) fn write(&mut self, batch: Batch, ingest: &mut Ingest, reconciler: &Reconciler) {
        for decision in &batch.decisions {
            if !reconciler.is_canary(decision.cgroup) {
                self.flows.write(decision, ingest, reconciler);
            }
        }
        self.unknown += batch.unknown;
        self.flows.add_untold(batch.left_out, ingest);
    }

    /// Says what was decided and not told since it was last said.
    pub(super) fn report_losses(&mut self, reconciler: &mut Reconciler, ingest: &Ingest) {
        self.report_lost(reconciler);
        match std::mem::take(&mut self.unknown) {
            0 => {}
            unknown => tracing::warn!(
                "{unknown} events of the programs in the kernel are not in the log: this version does not know their \
                 form; another version of the enforcer has attached programs to the same cgroups"
            ),
        }
        match reconciler.untold() {
            Ok(counted) => {
                let news = self.flows.untold.news(counted);
                self.flows.add_untold(news, ingest);
            }
            Err(error) => tracing::error!(
                "how many refusals are missing in the log is not known, since the kernel does not say; enforcement is as \
                 it was: {error:#}"
            ),
        }
        self.flows.add_untold(reconciler.write_memory(), ingest);
        self.flows.say_untold(ingest);
    }

    /// Says how many events did not fit the ring buffer.
    fn report_lost(&mut self, reconciler: &Reconciler) {
        let counters = match reconciler.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!(
                    "how many refusals were lost on their way to the log is not known, since the kernel does not say; \
                     enforcement is as it was: {error:#}"
                );
                return;
            }
        };
        let lost = counters.get(&Counter::Lost).copied().unwrap_or_default();
        if lost > self.lost {
            tracing::warn!(
                "{} flows were decided and not logged: they came faster than they are read; enforcement is as it was",
                lost - self.lost
            );
        }
        self.lost = lost;
    }

    /// The line that scripts wait for, and what is missing.
    pub(super) fn announce(&self, ingest: &Ingest, reconciler: &Reconciler) {
        let line = self.line(ingest, reconciler);
        // Who reads it, or has stopped to, does not decide on what is enforced.
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            tracing::warn!(
                "{line}: this could not be written to standard output ({error}): enforcement is in force, and who waits \
                 for that line waits in vain"
            );
        }
        if reconciler.applied().workloads.is_empty() {
            tracing::warn!("no configured workload has a cgroup yet; each is enforced from when it appears");
        }
        for root in ingest.root_states() {
            if root.is_required && !root.is_there {
                tracing::warn!(
                    "the root {} is not there: nothing is enforced below it until somebody makes it",
                    root.path.display()
                );
            }
        }
    }

    fn line(&self, ingest: &Ingest, reconciler: &Reconciler) -> String {
        let applied = reconciler.applied();
        let (workloads, policies) = (applied.workloads.len(), applied.policies.len());
        let rules: usize = applied.scopes.values().map(|rules| rules.len()).sum();
        let message = "enforcement is in force";
        let allow_any = status::allow_any(ingest, reconciler);
        match self.format {
            LogFormat::Human => {
                let but = if allow_any.is_empty() {
                    String::new()
                } else {
                    format!("; but {}", AllowAny(&allow_any))
                };
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
                line.to_string()
            }
        }
    }
}

/// What earlier starts have counted.
pub(super) struct Counted {
    pub(super) untold: BTreeMap<CgroupId, u64>,
    pub(super) lost: u64,
}
