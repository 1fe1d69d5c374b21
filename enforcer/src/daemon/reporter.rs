//! What is told: the log's lines and Kubernetes' Events for what the programs decide, and the status.
//!
//! **Architecture Invariant:** nothing here changes what is enforced.

mod flows;
mod status;
mod twins;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
};

use enforcer_common::{CgroupId, Counter};
use tokio::sync::mpsc;

use super::{ingest::Ingest, reconciler::Reconciler};
use crate::{
    config::Enforcement,
    datapath::Batch,
    report::{log::LogFormat, notice::Notice},
};

use flows::Flows;

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
                self.flows
                    .write(decision, ingest.registry(), reconciler.capacity());
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
            Err(error) => tracing::error!("what the programs have not told is not known: {error:#}"),
        }
        self.flows.add_untold(reconciler.write_memory(), ingest);
        self.flows.say_untold(ingest);
    }

    /// Says how many events did not fit the ring buffer.
    fn report_lost(&mut self, reconciler: &Reconciler) {
        let counters = match reconciler.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!("what the programs counted is not known: {error:#}");
                return;
            }
        };
        let lost = counters.get(&Counter::Lost).copied().unwrap_or_default();
        if lost > self.lost {
            tracing::warn!(
                "{} flows were decided and not logged: they came faster than they are read",
                lost - self.lost
            );
        }
        self.lost = lost;
    }

    /// The line that scripts wait for.
    pub(super) fn announce(&self, reconciler: &Reconciler) {
        let applied = reconciler.applied();
        let (workloads, policies) = (applied.workloads.len(), applied.policies.len());
        let rules: usize = applied.scopes.values().map(|rules| rules.len()).sum();
        let message = "enforcement is in force";
        let line = match self.format {
            LogFormat::Human => {
                format!("{message}: workloads {workloads}, policies {policies}, rules {rules}")
            }
            LogFormat::Json => {
                let counts =
                    serde_json::json!({ "workloads": workloads, "policies": policies, "rules": rules });
                serde_json::json!({ "message": message, "counts": counts }).to_string()
            }
        };
        // Who reads it, or has stopped to, does not decide on what is enforced.
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            tracing::warn!("{line}: this could not be written to standard output: {error}");
        }
        if workloads == 0 {
            tracing::warn!("no configured workload has a cgroup yet; each is enforced from when it appears");
        }
    }
}

/// What earlier starts have counted.
pub(super) struct Counted {
    pub(super) untold: BTreeMap<CgroupId, u64>,
    pub(super) lost: u64,
}
