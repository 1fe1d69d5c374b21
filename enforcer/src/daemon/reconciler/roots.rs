//! At which roots the programs run, and at which depths workloads are looked for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use enforcer_common::CgroupId;

use super::{Due, Reconciler};
use crate::{
    daemon::ingest::Ingest,
    datapath::{Attached, Cgroup},
    proof::LEVELS,
    report::dedup::{Dedup, IN_STATUS},
};

/// Where the programs run.
pub(super) struct RootPrograms {
    attached: BTreeSet<CgroupId>,
    /// Why they do not run at roots that are there.
    refused: BTreeMap<CgroupId, String>,
    refusals: Dedup,
}

impl Default for RootPrograms {
    fn default() -> Self {
        Self {
            attached: BTreeSet::new(),
            refused: BTreeMap::new(),
            refusals: Dedup::listed(IN_STATUS),
        }
    }
}

impl RootPrograms {
    /// The roots that are there and at which the programs do not run.
    pub(super) fn missing(&self, ingest: &Ingest) -> Vec<CgroupId> {
        let roots = ingest.roots().map(|root| root.id);
        roots.filter(|root| !self.attached.contains(root)).collect()
    }

    /// The programs no longer run at a root.
    pub(super) fn forget(&mut self, root: CgroupId) {
        self.attached.remove(&root);
    }

    pub(super) fn lacks_some(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Why the programs run at none of the roots that are there; None if they run at one, or there is none.
    pub(super) fn refused_everywhere(&self) -> Option<String> {
        if !self.attached.is_empty() || self.refused.is_empty() {
            return None;
        }
        let refused: Vec<_> = self.refused.values().map(String::as_str).collect();
        Some(refused.join("; "))
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        self.refused.values().cloned()
    }
}

impl Reconciler {
    /// Attaches the programs at roots that appeared, and takes them from cgroups that are gone. A root that fails keeps
    /// no other from being enforced.
    pub(super) fn attach(&mut self, ingest: &mut Ingest) {
        for gone in ingest.take_gone() {
            self.roots.attached.remove(&gone.id);
            if let Err(error) = self.datapath.detach(&gone.path) {
                tracing::error!(
                    "cannot remove the pins of {}, whose cgroup is gone; the next start removes them: {error:#}",
                    gone.path.display()
                );
            }
        }
        self.roots.refused.clear();
        for root in ingest.roots() {
            if self.roots.attached.contains(&root.id) {
                continue;
            }
            match self.datapath.attach(root) {
                Ok(attached) => {
                    tracing::info!("enforcing at {}", root.path.display());
                    self.roots.attached.insert(root.id);
                    if let (Some(revocation), Attached::Anew) = (&mut self.revocation, attached) {
                        revocation.note(Due::Everything);
                    }
                }
                // Of which the next change tells.
                Err(_) if !root.is_there() => {}
                Err(error) => {
                    let refusal = format!("not enforcing at {}: {error:#}", root.path.display());
                    self.roots.refused.insert(root.id, refusal);
                }
            }
        }
        let refused = self.roots.refused.values().cloned().collect();
        for refusal in self.roots.refusals.news(refused) {
            tracing::error!("{refusal}; trying again");
        }
    }

    /// Looks for workloads at every depth that one has or, while a plan is carried out, that one had.
    pub(super) fn set_depths(&mut self, ingest: &Ingest, with_former: bool) -> Result<()> {
        let depths = ingest.cgroups().values().map(Cgroup::depths);
        let mut depths: BTreeSet<u32> = depths
            .flat_map(|depths| [*depths.start(), *depths.end()])
            .collect();
        depths.extend(ingest.roots().flat_map(|root| {
            let depths = root.depths();
            let canary = depths.start() + LEVELS;
            [canary, canary.max(*depths.end())]
        }));
        if with_former {
            depths.extend([self.datapath.depths().start(), self.datapath.depths().end()].map(|depth| *depth));
        }
        match (depths.first(), depths.last()) {
            (Some(first), Some(last)) => self.datapath.set_depths(*first..=*last),
            _ => Ok(()),
        }
    }
}
