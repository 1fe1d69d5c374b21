//! Serves the self-proof: inspects and repairs programs, pins and maps, and binds the canary.

use std::time::Instant;

use anyhow::Result;

use super::{Due, Reconciler};
use crate::{
    daemon::ingest::Ingest,
    datapath::{Cgroup, Drift, Inspection},
    proof::Question,
    report::dedup::{Dedup, IN_STATUS},
};

/// The share of time in which the maps may be compared with what was written, as its inverse.
const SHARE: u32 = 200;

/// When the maps are compared again, and what was said.
pub(super) struct Comparison {
    due: Instant,
    /// What cannot be restored is logged once.
    lapses: Dedup,
}

impl Default for Comparison {
    fn default() -> Self {
        Self {
            due: Instant::now(),
            lapses: Dedup::listed(IN_STATUS),
        }
    }
}

impl Reconciler {
    /// Answers the self-proof.
    pub(in crate::daemon) fn answer_proof(&mut self, question: Question, ingest: &mut Ingest) {
        let is_received = match question {
            Question::Inspect(reply) => reply.send(self.inspect(ingest)).is_ok(),
            Question::Bind(cgroups, reply) => reply.send(self.bind(cgroups, ingest)).is_ok(),
        };
        // A receiver that is gone is about to end.
        if !is_received {
            tracing::debug!("the self-proof did not wait for its answer");
        }
    }

    fn inspect(&mut self, ingest: &mut Ingest) -> Inspection {
        let mut inspection = self.datapath.inspect();
        inspection.lapses.extend(self.compare(ingest));
        let (stays, mended): (Vec<_>, Vec<_>) =
            inspection.lapses.iter().partition(|lapse| lapse.stays.is_some());
        let is_mended = !mended.is_empty();
        let stays = stays.into_iter().map(ToString::to_string).collect();
        let mended = mended.into_iter().map(ToString::to_string);
        for lapse in self.comparison.lapses.news(stays).into_iter().chain(mended) {
            tracing::error!(event = "alarm", "alarm: {lapse}");
        }
        if let (true, Some(revocation)) = (is_mended, &mut self.revocation) {
            // Connections that were made meanwhile are closed, if they are not allowed.
            revocation.note(Due::Everything);
            self.bring_up_to_date(ingest);
        }
        inspection
    }

    fn bind(&mut self, cgroups: Vec<Cgroup>, ingest: &mut Ingest) -> Result<()> {
        self.canaries.set(cgroups);
        self.reconcile(ingest)
    }

    /// Compares the maps with what was written, as often as it costs little, and writes it again if they differ.
    fn compare(&mut self, ingest: &mut Ingest) -> Option<Drift> {
        let start = Instant::now();
        if start < self.comparison.due {
            return None;
        }
        let holds = self.datapath.holds(&self.applied);
        self.comparison.due = Instant::now() + start.elapsed() * SHARE;
        if matches!(holds, Ok(true)) {
            return None;
        }
        let restored = self.restore(ingest);
        Some(Drift {
            what: "somebody had changed entries of the maps".to_owned(),
            stays: restored.err().map(|error| format!("{error:#}")),
        })
    }

    fn restore(&mut self, ingest: &mut Ingest) -> Result<()> {
        self.datapath.restore_settings()?;
        self.applied = self.datapath.read_back()?;
        self.reconcile(ingest)
    }
}
