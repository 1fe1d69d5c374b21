//! Tells the ledger who is bound, so that verdicts are counted for whoever owns the workload.

use enforcer_common::CgroupId;
use enforcer_core::plan::Change;

use super::Reconciler;
use crate::{
    daemon::ingest::Ingest,
    metrics::{Owner, Who},
};

impl Reconciler {
    /// These changes are in the maps.
    pub(super) fn note_bound(&self, changes: &[Change], ingest: &Ingest) {
        for change in changes {
            match change {
                Change::Bind(cgroup, _) => self.ledger.bind(*cgroup, self.who(*cgroup, ingest)),
                Change::Unbind(cgroup) => self.ledger.unbind(*cgroup),
                _ => {}
            }
        }
    }

    /// Everything in the maps is bound, and nothing else.
    pub(super) fn note_all_bound(&self, ingest: &Ingest) {
        let bound = self.applied.workloads.keys();
        let all = bound.map(|cgroup| (*cgroup, self.who(*cgroup, ingest))).collect();
        self.ledger.set(all);
    }

    /// A cgroup that is bound and no workload's is the self-proof's.
    fn who(&self, cgroup: CgroupId, ingest: &Ingest) -> Who {
        match ingest.owner(cgroup) {
            Some((namespace, workload)) => Who::Workload(Owner { namespace, workload }),
            None => Who::Canary,
        }
    }
}
