//! Builds the registry and the list of cgroups from the sources.
//!
//! **Architecture Invariant:** nothing here touches the kernel. What follows for it, the reconciler finds by comparing.

mod announce;
mod awaited;
mod configured;
mod pods;
mod precedence;
mod resolvers;
mod suspicions;
mod unbound;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use enforcer_common::CgroupId;
use enforcer_core::{
    documents::Documents,
    istio::{Kind, ObjectId},
    model::{Host, Workload},
    policy::Desired,
    registry::{Registry, Update, Warning},
};
use ipnet::IpNet;

use super::{
    input::{Change, Source},
    settings::protected,
};
use crate::{
    abreast,
    config::Config,
    control::RootStatus,
    datapath::{Cgroup, Learning},
    report::dedup::{Dedup, IN_STATUS},
    sources::{
        cgroups::{CgroupChange, Misplaced, Unused, Wanted},
        files::{Content, FileChange},
        kube::KubeChange,
    },
};

use announce::Announced;
use configured::Configured;
use precedence::Precedence;
use resolvers::Resolvers;

pub(super) use configured::is_there;
pub(crate) use pods::{NodePods, settings, wanted};
pub(super) use unbound::{Unbound, lines};

pub(super) struct Ingest {
    registry: Registry,
    documents: Documents,
    /// Which version counts if both files and the API server have an object.
    precedence: Precedence,
    /// How many batches of files were applied.
    batches: u64,
    follows_cluster: bool,
    /// Up to which version all objects of a kind were applied, and why the newest version of some is not.
    followed: BTreeMap<Kind, u64>,
    rejections: BTreeMap<ObjectId, String>,
    configured: Configured,
    /// None without `pods` in the configuration.
    pods: Option<NodePods>,
    /// The configured cgroups, and those of pods, that are there.
    cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Cgroups that are gone, of which the reconciler was not told.
    gone: Vec<Cgroup>,
    /// Whether every workload may ask the resolvers.
    allows_resolvers: bool,
    resolvers: Resolvers,
    /// Networks whose addresses are not learned; None if nothing is.
    protected: Option<BTreeSet<IpNet>>,
    /// Whether the cluster's own addresses are among them.
    protects_cluster: bool,
    /// Units that run outside their slices, and cgroups that nothing uses.
    misplaced: BTreeSet<Misplaced>,
    unused: BTreeSet<Unused>,
    /// What the configuration may not mean.
    of_configuration: Vec<String>,
    /// What is suspicious about the registry as a whole; None after a change.
    of_registry: Option<Arc<BTreeSet<Warning>>>,
    /// What was said of the files, of what is suspicious, and of units.
    problems: Dedup,
    warnings: Dedup,
    misplacements: Dedup,
}

/// All configured cgroups, and the units that should be in them.
pub(super) fn wanted_cgroups(config: &Config) -> Wanted {
    Configured::new(config).wanted().clone()
}

impl Ingest {
    /// Knows what is configured, and which DNS servers are in use.
    pub(super) fn new(
        config: &Config,
        servers: &[SocketAddr],
        mut registry: Registry,
        pods: Option<NodePods>,
    ) -> Self {
        let configured = Configured::new(config);
        for (cgroup, workload) in configured.placeholders() {
            registry.apply(Update::Workload(cgroup, workload.clone()));
        }
        Self {
            registry,
            documents: Documents::default(),
            precedence: Precedence::new(config.kubernetes.is_some() && !config.registry.is_empty()),
            batches: 0,
            follows_cluster: config.kubernetes.is_some(),
            followed: BTreeMap::new(),
            rejections: BTreeMap::new(),
            configured,
            pods,
            cgroups: BTreeMap::new(),
            gone: Vec::new(),
            allows_resolvers: config.dns.allow_resolvers,
            resolvers: Resolvers::new(config, servers),
            protected: config.dns.learn.enabled.then(|| protected(config)),
            protects_cluster: config.dns.learn.protect_cluster,
            misplaced: BTreeSet::new(),
            unused: BTreeSet::new(),
            of_configuration: config.warnings.iter().map(suspicions::of_line).collect(),
            of_registry: None,
            problems: Dedup::listed(IN_STATUS),
            warnings: Dedup::listed(IN_STATUS),
            misplacements: Dedup::listed(IN_STATUS),
        }
    }

    /// Whether a plan has to follow a change.
    pub(super) fn is_news(&self, change: &Change) -> bool {
        match change {
            Change::Kube(changes) => changes.iter().any(|change| match change {
                KubeChange::Update(update) => self.registry.is_news(update),
                KubeChange::Listed => true,
                KubeChange::Rejected(..) | KubeChange::Followed(..) => false,
            }),
            _ => true,
        }
    }

    /// Applies a change, and returns the source whose first list it completes. It is in force after the next plan.
    pub(super) fn apply(&mut self, change: Change) -> Option<Source> {
        match change {
            Change::Files(changes) => {
                self.batches += 1;
                self.apply_files(changes);
                Some(Source::Files)
            }
            Change::Kube(changes) => self.apply_kube(changes).then_some(Source::Kube),
            Change::Cgroups(changes) => {
                self.apply_cgroups(changes);
                Some(Source::Cgroups)
            }
            Change::Pods(changes) => {
                self.apply_pods(changes);
                Some(Source::Pods)
            }
            Change::Name(update) => {
                self.update(update);
                None
            }
            Change::Resolvers(servers) => {
                self.apply_resolvers(&servers);
                None
            }
        }
    }

    /// Every update of the registry comes through here, wherever it is from.
    fn update(&mut self, update: Update) {
        self.of_registry = None;
        let of_pods = self.pods.as_mut().map(|pods| pods.note(&update));
        self.registry.apply(update);
        self.update_workloads(of_pods.unwrap_or_default());
    }

    fn apply_files(&mut self, changes: Vec<FileChange>) {
        let reads = abreast::map(changes.iter(), |FileChange { path, content }| match content {
            Content::Text(text) => Some(self.documents.read(&path.display().to_string(), text)),
            _ => None,
        });
        for (FileChange { path, content }, read) in changes.into_iter().zip(reads) {
            let name = path.display().to_string();
            let updates = match (content, read) {
                (_, Some(read)) => self.documents.take(read),
                (Content::Unreadable(reason), None) => {
                    self.documents.set_unreadable(&name, &reason);
                    Vec::new()
                }
                (_, None) => self.documents.set(&name, None),
            };
            for update in updates {
                if let Some(update) = self.precedence.of_file(update) {
                    self.update(update);
                }
            }
        }
        let problems = self.documents.problems();
        let lines = problems.iter().map(ToString::to_string).collect();
        for line in self.problems.news(lines) {
            // The last line may be about others alone.
            let problem = problems.iter().find(|problem| problem.to_string() == line);
            let object = problem
                .and_then(|problem| problem.object.as_ref())
                .map(ToString::to_string);
            let reason = problem.map(|problem| problem.message.as_str());
            tracing::error!(event = "document_rejected", object, reason, "{line}");
        }
        self.say_warnings();
    }

    /// Whether everything has been listed with these.
    fn apply_kube(&mut self, changes: Vec<KubeChange>) -> bool {
        let mut is_listed = false;
        for change in changes {
            match change {
                KubeChange::Update(update) => {
                    let update = self.precedence.of_cluster(update, &self.documents);
                    self.update(update);
                }
                KubeChange::Rejected(id, Some(why)) => drop(self.rejections.insert(id, why)),
                KubeChange::Rejected(id, None) => drop(self.rejections.remove(&id)),
                KubeChange::Followed(kind, version) => drop(self.followed.insert(kind, version)),
                KubeChange::Listed => is_listed = true,
            }
        }
        is_listed
    }

    fn apply_cgroups(&mut self, changes: Vec<CgroupChange>) {
        for change in changes {
            match change {
                CgroupChange::Appeared(cgroup) => {
                    if let Some(workload) = self.configured.workload(&cgroup.path) {
                        Announced::Configured(workload).found(&cgroup.path);
                        self.update(Update::Workload(cgroup.id, workload.clone()));
                    }
                    self.cgroups.insert(cgroup.id, cgroup);
                }
                CgroupChange::Gone(cgroup) => {
                    if let Some(workload) = self.configured.workload(&cgroup.path) {
                        Announced::Configured(workload).gone(Some(&cgroup.path));
                        self.update(Update::WorkloadGone(cgroup.id));
                    }
                    self.cgroups.remove(&cgroup.id);
                    self.gone.push(cgroup);
                }
                CgroupChange::Misplaced(misplaced) => {
                    self.misplaced = misplaced;
                    for problem in self.misplacements.news(self.misplacements_now()) {
                        tracing::error!(event = "unit_misplaced", "{problem}");
                    }
                }
                CgroupChange::Unused(unused) => {
                    self.unused = unused;
                    self.say_warnings();
                }
            }
        }
    }

    fn apply_resolvers(&mut self, servers: &[SocketAddr]) {
        self.resolvers.set_in_use(servers);
        if self.allows_resolvers {
            self.registry
                .set_resolvers(servers.iter().map(SocketAddr::ip).collect());
        }
    }

    /// Logs new warnings about files, cgroups and the configuration.
    fn say_warnings(&mut self) {
        let warnings = self.suspicions();
        for warning in self.warnings.news(warnings) {
            tracing::warn!("{warning}");
        }
    }
}

/// What others ask.
impl Ingest {
    pub(super) fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    pub(super) fn workload(&self, cgroup: CgroupId) -> Option<&Workload> {
        self.registry.workload(cgroup)
    }

    /// What owns a workload, by namespace and name; the workload itself where nothing does.
    pub(super) fn owner(&self, cgroup: CgroupId) -> Option<(String, String)> {
        let workload = self.workload(cgroup)?;
        let pods = self.pods.as_ref();
        let owner = pods.and_then(|pods| pods.pods.owner(cgroup));
        let name = owner.unwrap_or_else(|| workload.name.clone());
        Some((workload.namespace.to_string(), name))
    }

    /// How many objects the registry has of each kind.
    pub(super) fn objects(&self) -> BTreeMap<String, usize> {
        let counts = self.registry.object_counts();
        counts
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect()
    }

    /// Whether a cgroup is a pod's, or one of its containers'.
    pub(super) fn is_pod(&self, cgroup: CgroupId) -> bool {
        let there = self.cgroups.get(&cgroup);
        there.is_some_and(|cgroup| self.configured.workload(&cgroup.path).is_none())
    }

    /// What is desired, of all that is known.
    pub(super) fn desired(&mut self) -> Arc<Desired> {
        self.registry.desired()
    }

    /// Lets every workload ask the servers that are trusted now, and says what names are to be learned by.
    pub(super) fn learning(&mut self) -> Learning {
        let asked = self.resolvers.asked(&self.registry);
        self.registry.set_trusted(asked);
        let Some(protected) = &self.protected else {
            return Learning::default();
        };
        let of_cluster = if self.protects_cluster {
            self.registry.cluster_networks()
        } else {
            Arc::default()
        };
        Learning {
            patterns: self.registry.patterns(),
            resolvers: self.resolvers.trusted(&self.registry),
            protected: protected.iter().chain(&*of_cluster).copied().collect(),
        }
    }

    /// Whether names are learned from answers, as far as the configuration says.
    pub(super) fn learns(&self) -> bool {
        self.protected.is_some()
    }

    pub(super) fn hosts(&mut self) -> Arc<BTreeSet<Host>> {
        self.registry.hosts()
    }

    /// The cgroups that are there.
    pub(super) fn cgroups(&self) -> &BTreeMap<CgroupId, Cgroup> {
        &self.cgroups
    }

    /// Those of them below which everything is enforced.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Cgroup> {
        self.cgroups.values().filter(|cgroup| self.is_root(cgroup))
    }

    fn is_root(&self, cgroup: &Cgroup) -> bool {
        let of_pods = self.pods.as_ref().is_some_and(|pods| pods.is_root(cgroup.id));
        of_pods || self.configured.is_root(&cgroup.path)
    }

    /// The roots of the configuration, and those of pods that are there.
    pub(super) fn root_states(&self) -> Vec<RootStatus> {
        let is_there = |path: &Path| self.cgroups.values().any(|cgroup| cgroup.path == path);
        let configured = self.configured.roots().map(|path| RootStatus {
            path: path.to_owned(),
            is_there: is_there(path),
            is_required: self.configured.is_required(path),
        });
        let of_pods = self.pod_roots().map(|cgroup| RootStatus {
            path: cgroup.path.clone(),
            is_there: true,
            is_required: true,
        });
        configured.chain(of_pods).collect()
    }

    fn pod_roots(&self) -> impl Iterator<Item = &Cgroup> {
        let is_of_pods = |cgroup: &&Cgroup| self.pods.as_ref().is_some_and(|pods| pods.is_root(cgroup.id));
        self.cgroups.values().filter(is_of_pods)
    }

    /// What is missing of what is configured.
    pub(super) fn problems(&self) -> Option<String> {
        let lacks_pods = self.pods.is_some() && self.pod_roots().next().is_none();
        lacks_pods.then(|| {
            "the kubelet's cgroup of all pods does not exist: no pod is enforced until the kubelet creates it; remove \
             `pods` from the configuration if this machine is not a node of a cluster"
                .to_owned()
        })
    }

    /// Where an object that counts is from: its file and line, or the API server.
    pub(super) fn origin(&self, id: &ObjectId) -> String {
        let place = self
            .documents
            .place(id)
            .filter(|_| !self.precedence.is_of_cluster(id));
        match place {
            Some((file, line)) => format!("{file}:{line}"),
            None => "the API server".to_owned(),
        }
    }

    /// Cgroups that are gone since the last call.
    pub(super) fn take_gone(&mut self) -> Vec<Cgroup> {
        std::mem::take(&mut self.gone)
    }

    /// How many configured cgroups are there, and how many of pods.
    pub(super) fn counts(&self) -> (usize, usize) {
        let is_configured = |cgroup: &&Cgroup| {
            self.configured.is_root(&cgroup.path) || self.configured.workload(&cgroup.path).is_some()
        };
        let configured = self.cgroups.values().filter(is_configured).count();
        (configured, self.cgroups.len() - configured)
    }

    /// Documents of files that are wrong now, and how many objects are right.
    pub(super) fn rejected(&self) -> Vec<String> {
        self.documents
            .problems()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    pub(super) fn file_objects(&self) -> usize {
        self.documents.len()
    }
}
