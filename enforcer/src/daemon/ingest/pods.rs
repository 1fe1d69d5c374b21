//! The node's pods: what connects their cgroups and objects with the registry.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use enforcer_common::CgroupId;
use enforcer_core::{
    model::{Destination, Transport, Verdict},
    pods::{self, PodUid, Pods, ROOTS},
    registry::{Registry, Update},
};

use super::{Ingest, announce::Announced, is_there, unbound::Watch};
use crate::{
    config,
    datapath::{Cgroup, of_process},
    kept::Kept,
    node,
    report::dedup::Dedup,
    sources::pods::{FromKubelet, PodChange, Role, Wanted},
};

/// The port of DNS.
const DNS: u16 = 53;

/// The pods, and what was reported of them.
pub(crate) struct NodePods {
    pub(super) pods: Pods,
    enforcer: Option<PodUid>,
    notices: Dedup,
    /// Pods with resolvers of their own that they may not ask.
    strangers: BTreeSet<String>,
    /// The roots that are there.
    roots: BTreeSet<CgroupId>,
    /// Cgroups that have changed since the last report.
    news: BTreeSet<CgroupId>,
    pub(super) watch: Watch,
    /// Where roots are kept for the next boot.
    kept: Option<Arc<Kept>>,
}

/// Which cgroups of pods are followed.
pub(crate) fn wanted(config: &config::Pods) -> Wanted {
    let configured = config.roots.iter().map(|root| PathBuf::from(root.as_str()));
    Wanted {
        roots: if config.roots.is_empty() {
            ROOTS.into_iter().map(PathBuf::from).collect()
        } else {
            configured.collect()
        },
        own: config.roots.is_empty().then(own_pod).flatten(),
        containers: !config.exempt.is_empty(),
        resolv_confs: config.built_in.resolv_confs.clone(),
        kubelet: FromKubelet {
            roots: config.roots.is_empty(),
            resolv_conf: config.built_in.asks_kubelet,
        },
    }
}

/// How pods become workloads on this node.
pub(crate) fn settings(config: &config::Pods) -> pods::Settings {
    let mut scope = config.scope.clone();
    if let Some(own) = variable("POD_NAMESPACE") {
        scope.excluded.insert(enforcer_core::model::Namespace::new(&own));
    }
    pods::Settings {
        node: node::name(config.node.as_deref()),
        scope,
        exempt: config.exempt.clone(),
        own_addresses: config.built_in.own_addresses,
        node_dns: !config.built_in.resolv_confs.is_empty(),
        proxies: config.proxies == config::Proxies::Endpoints,
        enforcer: own_pod(),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The pod that this process is in: as the manifest hands it over, else as its own cgroup says.
fn own_pod() -> Option<PodUid> {
    let of_manifest = variable("POD_UID").and_then(|uid| PodUid::new(&uid));
    of_manifest.or_else(|| PodUid::of_path(&of_process("self")?))
}

impl NodePods {
    /// No pods yet.
    pub(crate) fn new(settings: pods::Settings) -> Self {
        let enforcer = settings.enforcer.clone();
        Self {
            pods: Pods::new(settings),
            enforcer,
            notices: Dedup::default(),
            strangers: BTreeSet::new(),
            roots: BTreeSet::new(),
            news: BTreeSet::new(),
            watch: Watch::default(),
            kept: None,
        }
    }

    /// The same, which keeps its roots for the next boot.
    pub(crate) fn keeping(self, kept: Option<Arc<Kept>>) -> Self {
        Self { kept, ..self }
    }

    /// What an update of the registry means for pods. To be called for every update.
    pub(super) fn note(&mut self, update: &Update) -> Vec<Update> {
        self.pods.note(update)
    }

    /// Whether all pods are below this cgroup.
    pub(super) fn is_root(&self, cgroup: CgroupId) -> bool {
        self.roots.contains(&cgroup)
    }

    /// Reports which pods are at which cgroup, after a batch of changes, and settings of objects that are ignored.
    pub(super) fn report(&mut self, registry: &mut Registry, cgroups: &BTreeMap<CgroupId, Cgroup>) {
        for cgroup in std::mem::take(&mut self.news) {
            if let (Some(workload), Some(at)) = (registry.workload(cgroup), cgroups.get(&cgroup)) {
                Announced::Pod(workload).found(&at.path);
            }
        }
        self.strangers = self.strangers_now(registry);
        let notices = self.pods.notices().map(ToString::to_string);
        let notices = notices.chain(self.strangers.iter().cloned()).collect();
        for notice in self.notices.news(notices) {
            tracing::warn!("{notice}");
        }
    }

    /// Servers of `dnsConfig` that the pods themselves may not ask: who writes a pod does not thereby open a way out.
    fn strangers_now(&self, registry: &mut Registry) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (pod, who) in self.pods.with_servers() {
            let workload = self.pods.workload(pod);
            for server in &pod.dns.servers {
                let asked = Destination::new(Transport::Udp, *server, DNS);
                let explanation = registry.explain_for(&workload, asked, &BTreeSet::new());
                if explanation.verdict != Verdict::Allow {
                    found.insert(format!(
                        "{who}: dnsConfig names the resolver {server}, which is refused like any other destination: a \
                         ServiceEntry with this address and UDP port {DNS} allows it, and dns.trustedResolvers lists \
                         whose answers are learned from"
                    ));
                }
            }
        }
        found
    }
}

impl Ingest {
    /// Records cgroups of pods that appeared or disappeared.
    pub(super) fn apply_pods(&mut self, changes: Vec<PodChange>) {
        for change in changes {
            match change {
                PodChange::Appeared(cgroup, role) => {
                    self.cgroups.insert(cgroup.id, cgroup.clone());
                    match role {
                        Role::Root => {
                            tracing::info!("the node's pods are below {}", cgroup.path.display());
                            self.with_pods(|node| {
                                if let Some(kept) = &node.kept {
                                    kept.note_root(cgroup.path.clone());
                                }
                                node.roots.insert(cgroup.id);
                                Vec::new()
                            });
                        }
                        Role::Place(place) => self.with_pods(|node| {
                            let updates = node.pods.appeared(cgroup.id, place);
                            if let Some(uid) = node.pods.unknown_pod(cgroup.id) {
                                tracing::debug!("pod {uid} at {} is not known yet", cgroup.path.display());
                            }
                            updates
                        }),
                    }
                }
                PodChange::Gone(cgroup, role) => {
                    self.cgroups.remove(&cgroup.id);
                    self.with_pods(|node| {
                        node.roots.remove(&cgroup.id);
                        node.pods.gone(cgroup.id)
                    });
                    if role == Role::Root {
                        self.gone.push(cgroup);
                    }
                }
                PodChange::Astray(astray) => {
                    if let Some(node) = &mut self.pods {
                        node.watch.astray = astray;
                    }
                }
                PodChange::Resolvers(servers) => {
                    tracing::info!(servers = ?servers, "the node's resolvers, for pods that are given these");
                    self.resolvers.set_of_node(&servers);
                    self.registry.set_of_node(servers);
                }
            }
        }
    }

    fn with_pods(&mut self, work: impl FnOnce(&mut NodePods) -> Vec<Update>) {
        let updates = self.pods.as_mut().map(work).unwrap_or_default();
        self.update_workloads(updates);
    }

    /// Applies updates of workloads to the registry.
    pub(super) fn update_workloads(&mut self, updates: Vec<Update>) {
        for update in updates {
            match &update {
                Update::Workload(cgroup, _) => {
                    if let Some(node) = &mut self.pods {
                        node.news.insert(*cgroup);
                    }
                }
                Update::WorkloadGone(cgroup) => {
                    if let Some(workload) = self.registry.workload(*cgroup)
                        && is_there(cgroup)
                    {
                        Announced::Pod(workload).gone(None);
                    }
                }
                _ => {}
            }
            self.registry.apply(update);
        }
    }

    /// Reports which pods are at which cgroup, after a batch of changes.
    pub(in crate::daemon) fn report_pods(&mut self) {
        if let Some(pods) = &mut self.pods {
            pods.report(&mut self.registry, &self.cgroups);
        }
    }

    /// Pods with resolvers of their own that they may not ask.
    pub(in crate::daemon) fn strangers(&self) -> impl Iterator<Item = String> {
        self.pods.iter().flat_map(|pods| pods.strangers.iter().cloned())
    }

    /// The cgroups of the pod that this process is in.
    pub(in crate::daemon) fn own_pod(&self) -> Vec<CgroupId> {
        let Some(node) = &self.pods else {
            return Vec::new();
        };
        if node.roots.is_empty() {
            tracing::warn!("no kubelet's cgroup of pods exists; pods are enforced once it appears");
        }
        let enforcer = node.enforcer.as_ref();
        enforcer
            .map(|enforcer| node.pods.cgroups(enforcer).collect())
            .unwrap_or_default()
    }
}
