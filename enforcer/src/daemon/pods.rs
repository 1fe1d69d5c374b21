//! The node's pods: what connects their cgroups and objects with the registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use enforcer_common::CgroupId;
use enforcer_core::{
    plan,
    pods::{self, PodUid, Pods, ROOTS},
    registry::{Registry, Update},
};

use super::owner::Owner;
use crate::{
    config,
    datapath::Cgroup,
    report::once::Once,
    sources::pods::{PodChange, Role, Wanted},
};

/// The pods, and what was said of them.
pub(super) struct NodePods {
    pods: Pods,
    enforcer: Option<PodUid>,
    notices: Once,
    /// The roots that are there.
    roots: BTreeSet<CgroupId>,
    /// Cgroups of which something else holds than was last said.
    news: BTreeSet<CgroupId>,
}

/// Which cgroups of pods are followed.
pub(super) fn wanted(config: &config::Pods) -> Wanted {
    let configured = config.roots.iter().map(|root| PathBuf::from(root.as_str()));
    Wanted {
        roots: if config.roots.is_empty() {
            ROOTS.into_iter().map(PathBuf::from).collect()
        } else {
            configured.collect()
        },
        containers: !config.exempt.is_empty(),
    }
}

/// How pods become workloads on this node.
///
/// # Errors
/// If the node's name is not known.
pub(crate) fn settings(config: &config::Pods) -> Result<pods::Settings> {
    let node = match &config.node {
        Some(node) => node.clone(),
        None => node_name()?,
    };
    let mut scope = config.scope.clone();
    if let Some(own) = variable("POD_NAMESPACE") {
        scope.excluded.insert(enforcer_core::model::Namespace::new(&own));
    }
    Ok(pods::Settings {
        node,
        scope,
        exempt: config.exempt.clone(),
        own_addresses: config.built_in.own_addresses,
        enforcer: own_pod(),
    })
}

/// As the kubelet has it unless it is told otherwise: the host's, in lower case.
fn node_name() -> Result<String> {
    if let Some(name) = variable("NODE_NAME") {
        return Ok(name);
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname").context("reading the name of the host")?;
    Ok(name.trim().to_ascii_lowercase())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The pod that this process is in: as the manifest hands it over, else as its own cgroup says.
fn own_pod() -> Option<PodUid> {
    let of_manifest = variable("POD_UID").and_then(|uid| PodUid::new(&uid));
    of_manifest.or_else(|| {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
        PodUid::of_path(unified)
    })
}

impl NodePods {
    /// No pods yet.
    pub(super) fn new(settings: pods::Settings) -> Self {
        let enforcer = settings.enforcer.clone();
        Self {
            pods: Pods::new(settings),
            enforcer,
            notices: Once::default(),
            roots: BTreeSet::new(),
            news: BTreeSet::new(),
        }
    }

    /// What an update of the registry means for pods. To be called for every update.
    pub(super) fn note(&mut self, update: &Update) -> Vec<Update> {
        self.pods.note(update)
    }

    /// Whether all pods are below this cgroup.
    pub(super) fn is_root(&self, cgroup: CgroupId) -> bool {
        self.roots.contains(&cgroup)
    }

    /// Says which pods are where, once all that belongs together was taken in, and what objects say in vain.
    pub(super) fn report(&mut self, registry: &Registry, cgroups: &BTreeMap<CgroupId, Cgroup>) {
        for cgroup in std::mem::take(&mut self.news) {
            if let (Some(workload), Some(at)) = (registry.workload(cgroup), cgroups.get(&cgroup)) {
                let mode = workload.enforcement.map(|mode| format!(" ({mode})"));
                let mode = mode.unwrap_or_default();
                tracing::info!("pod {workload}{mode} is at {}", at.path.display());
            }
        }
        let notices = self.pods.notices().map(ToString::to_string).collect();
        for notice in self.notices.news(notices) {
            tracing::warn!("{notice}");
        }
    }
}

impl Owner {
    /// Takes in the cgroups of pods that came or went.
    pub(super) fn take_pods(&mut self, changes: Vec<PodChange>) {
        for change in changes {
            match change {
                PodChange::Appeared(cgroup, role) => {
                    self.cgroups.insert(cgroup.id, cgroup.clone());
                    match role {
                        Role::Root => {
                            tracing::info!("the node's pods are below {}", cgroup.path.display());
                            self.unattached.insert(cgroup.id, cgroup.clone());
                            self.with_pods(|node| {
                                node.roots.insert(cgroup.id);
                                Vec::new()
                            });
                        }
                        Role::Place(place) => self.with_pods(|node| {
                            let updates = node.pods.appeared(cgroup.id, place);
                            if let Some(uid) = node.pods.stranger(cgroup.id) {
                                tracing::debug!("pod {uid} at {} is not known yet", cgroup.path.display());
                            }
                            updates
                        }),
                    }
                }
                PodChange::Gone(cgroup, role) => {
                    self.unattached.remove(&cgroup.id);
                    self.cgroups.remove(&cgroup.id);
                    self.with_pods(|node| {
                        node.roots.remove(&cgroup.id);
                        node.pods.gone(cgroup.id)
                    });
                    if role == Role::Root
                        && let Err(error) = self.datapath.detach(&cgroup.path)
                    {
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

    fn with_pods(&mut self, work: impl FnOnce(&mut NodePods) -> Vec<Update>) {
        let updates = self.pods.as_mut().map(work).unwrap_or_default();
        self.set_workloads(updates);
    }

    /// Carries over to the registry what follows for workloads.
    pub(super) fn set_workloads(&mut self, updates: Vec<Update>) {
        for update in updates {
            match &update {
                Update::Workload(cgroup, _) => {
                    if let Some(node) = &mut self.pods {
                        node.news.insert(*cgroup);
                    }
                }
                Update::WorkloadGone(cgroup) => {
                    if let Some(workload) = self.registry.workload(*cgroup)
                        && cgroup.0 & pods::FORESEEN == 0
                    {
                        tracing::info!("pod {workload} is gone");
                    }
                }
                _ => {}
            }
            self.registry.apply(update);
        }
    }

    /// Lets the enforcer's own pod through the maps that an earlier start has left in force, before anything is
    /// waited for: it would be unknown to them, and nothing that it waits for could ever come.
    ///
    /// # Errors
    /// If the maps cannot be read or written.
    pub(super) fn admit_own_pod(&mut self) -> Result<()> {
        let Some(node) = &self.pods else {
            return Ok(());
        };
        if node.roots.is_empty() {
            tracing::warn!("no kubelet's cgroup of pods is there; they are enforced from when it appears");
        }
        let Some(enforcer) = &node.enforcer else {
            return Ok(());
        };
        let own: Vec<_> = node.pods.cgroups(enforcer).collect();
        for cgroup in own {
            self.set_depths(true)?;
            let Some(at) = self.cgroups.get(&cgroup) else {
                continue;
            };
            self.datapath
                .admit(at, |applied| plan::admit(applied, cgroup))
                .context("letting the enforcer's own pod through")?;
        }
        Ok(())
    }
}
