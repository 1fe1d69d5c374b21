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
        for line in news {
            // The last line may only count others.
            let pod = unbound
                .iter()
                .find(|pod| pod.to_string() == line)
                .map(|pod| &pod.workload);
            tracing::error!(
                event = "pod_unbound",
                workload = pod.map(tracing::field::display),
                namespace = pod.map(|pod| pod.namespace.as_str()),
                pod = pod.map(|pod| pod.name.as_str()),
                "{line}"
            );
        }
        for Unbound { workload, problem } in &unbound {
            self.flows.queue(Notice::unbound(workload, problem));
        }
    }
}
