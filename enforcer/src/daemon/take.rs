//! What comes in, on its way to the registry.

use std::{collections::BTreeSet, net::SocketAddr};

use enforcer_core::registry::Update;

use super::{inputs::Change, owner::Owner};
use crate::sources::{
    cgroups::CgroupChange,
    files::{Content, FileChange},
};

impl Owner {
    /// Takes a change in. It is in force after the next plan.
    pub(super) fn take(&mut self, change: Change) {
        match change {
            Change::Files(changes) => self.take_files(changes),
            Change::Kube(changes) => {
                self.take_kube(changes);
            }
            Change::Cgroups(changes) => self.take_cgroups(changes),
            Change::Pods(changes) => self.take_pods(changes),
            Change::Name(update) => self.apply(update),
            Change::Resolvers(servers) => self.take_resolvers(&servers),
        }
    }

    pub(super) fn take_files(&mut self, changes: Vec<FileChange>) {
        for FileChange { path, content } in changes {
            let name = path.display().to_string();
            let updates = match content {
                Content::Text(text) => self.documents.set(&name, Some(&text)),
                Content::Gone => self.documents.set(&name, None),
                Content::Unreadable(reason) => {
                    self.documents.set_unreadable(&name, &reason);
                    Vec::new()
                }
            };
            for update in updates {
                if let Some(update) = self.precedence.of_file(update) {
                    self.apply(update);
                }
            }
        }
        let problems = self
            .documents
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect();
        for problem in self.problems.news(problems) {
            tracing::error!("{problem}");
        }
        self.say_warnings();
    }

    /// Says what is suspicious about files and about the registry as a whole, if it was not said already.
    pub(super) fn say_warnings(&mut self) {
        let warnings = self.suspicions();
        for warning in self.warnings.news(warnings) {
            tracing::warn!("{warning}");
        }
    }

    /// What is suspicious now.
    pub(super) fn suspicions(&mut self) -> BTreeSet<String> {
        let of_files = self.documents.warnings();
        let of_files = of_files.iter().map(ToString::to_string);
        let warnings = self.registry.warnings();
        of_files.chain(warnings.iter().map(ToString::to_string)).collect()
    }

    /// Takes one change in. Every update of the registry comes through here, wherever it is from.
    pub(super) fn apply(&mut self, update: Update) {
        if let Some(revocation) = &mut self.revocation {
            revocation.note_update(&update);
        }
        let of_pods = self.pods.as_mut().map(|pods| pods.note(&update));
        self.registry.apply(update);
        self.set_workloads(of_pods.unwrap_or_default());
    }

    pub(super) fn take_cgroups(&mut self, changes: Vec<CgroupChange>) {
        for change in changes {
            match change {
                CgroupChange::Appeared(cgroup) => {
                    if let Some(workload) = self.places.workload(&cgroup.path) {
                        tracing::info!("workload {workload} is at {}", cgroup.path.display());
                        let workload = workload.clone();
                        self.apply(Update::Workload(cgroup.id, workload));
                    }
                    if self.places.is_root(&cgroup.path) {
                        self.unattached.insert(cgroup.id, cgroup.clone());
                    }
                    self.cgroups.insert(cgroup.id, cgroup);
                }
                CgroupChange::Gone(cgroup) => {
                    if let Some(workload) = self.places.workload(&cgroup.path) {
                        tracing::info!("workload {workload} is gone from {}", cgroup.path.display());
                        self.apply(Update::WorkloadGone(cgroup.id));
                    }
                    self.unattached.remove(&cgroup.id);
                    self.cgroups.remove(&cgroup.id);
                    if let Err(error) = self.datapath.detach(&cgroup.path) {
                        tracing::error!(
                            "what enforced {} is still pinned, though the cgroup is gone; the next start removes it: \
                             {error:#}",
                            cgroup.path.display()
                        );
                    }
                }
            }
        }
    }

    fn take_resolvers(&mut self, servers: &[SocketAddr]) {
        if self.allow_resolvers {
            self.registry
                .set_resolvers(servers.iter().map(SocketAddr::ip).collect());
        }
    }
}
