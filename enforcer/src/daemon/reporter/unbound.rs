//! Tells of pods that run where nothing enforces them.

use super::Reporter;
use crate::{
    daemon::ingest::{Ingest, Unbound, lines},
    report::notice::Notice,
};

impl Reporter {
    /// Logs those that are new, with an Event on each while the queue has room.
    pub(in crate::daemon) fn report_unbound(&mut self, ingest: &mut Ingest) {
        let unbound = ingest.unbound();
        let news = self.unbound.news(lines(&unbound).into_iter().collect());
        if news.is_empty() {
            return;
        }
        for problem in news {
            tracing::error!(event = "pod_unbound", "{problem}");
        }
        for Unbound { workload, problem } in &unbound {
            self.flows.queue(Notice::unbound(workload, problem));
        }
    }
}
