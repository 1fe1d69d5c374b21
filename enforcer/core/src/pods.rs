//! Which cgroup belongs to which pod, and the enforcement mode of that pod.
//!
//! ```text
//! Pod objects by UID --.
//! namespaces' labels ---+-> update_pod (one UID) -> Update::Workload, Update::WorkloadGone
//! cgroups by UID ------'
//! ```
//!
//! Objects and cgroups arrive in any order, from sources that fail independently. A cgroup whose UID matches no
//! object of this node has no workload, so the kernel treats it as unknown. A pod whose object is deleted keeps
//! its workload until its cgroup is gone, whatever the API server says.
//!
//! **Architecture Invariant:** the updates returned for cgroups depend only on the objects, the cgroups and the
//! order of deletions. A cgroup is matched to a pod only by the UID in its name, which the kubelet has set.

mod cgroup;
mod container;
mod owner;
mod running;
mod scope;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::CgroupId;

pub use cgroup::{Class, LEVELS, PodCgroup, PodUid, ROOTS, Tree, container};
pub use container::PodName;
pub use running::RunningPod;
pub use scope::{Notice, PodLabels, Scope};

use crate::{
    istio::{Kind, Meta, NamespaceObject, Object, ObjectId, Pod, PodPhase, Proxy},
    model::{Enforcement, Labels, Namespace, OwnAddresses, Workload},
    registry::Update,
};

/// The bit that marks identifiers of workloads whose cgroups do not exist yet. No cgroup has it, because the
/// kernel counts inodes up from 1. The registry gets such workloads so that their names are resolved early.
pub const PLACEHOLDER: u64 = 1 << 63;

/// Distinguishes the placeholders of pods from those of other workloads.
const POD: u64 = 1 << 62;

/// The annotation on the mirror object of a static pod. Its value is the identifier that the kubelet gave the pod,
/// which is also in the name of the pod's cgroup.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The label that the API server gives every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// How pods become workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node whose pods count.
    pub node: String,
    /// The enforcement mode of each.
    pub scope: Scope,
    /// Names of containers that are off; their own cgroups are exempted.
    pub exempt: BTreeSet<String>,
    /// Whether a pod may reach its own addresses.
    pub own_addresses: bool,
    /// Whether a pod may ask the resolvers of the node if its spec gives it these.
    pub node_dns: bool,
    /// Whether a pod with a proxy may reach what stands behind the services that it sees.
    pub proxies: bool,
    /// The enforcer's own pod, which is off before its object is known.
    pub enforcer: Option<PodUid>,
}

/// Namespace and name.
type Name = (Namespace, String);

/// An object's claim to be the pod with some UID, the most credible first: the object with that UID comes before
/// mirrors of static pods, and older objects come before younger ones, which may be forged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    is_mirror: bool,
    created: Option<i64>,
    name: Name,
}

/// Every pod of this node, every cgroup of a pod, and the resulting workloads.
#[derive(Clone, Debug)]
pub struct Pods {
    settings: Settings,
    objects: BTreeMap<Name, Arc<Pod>>,
    namespaces: BTreeMap<Namespace, Labels>,
    claims: BTreeMap<PodUid, BTreeSet<Claim>>,
    /// Pods whose object is gone but whose cgroups still exist.
    orphans: BTreeMap<PodUid, Arc<Pod>>,
    cgroups: BTreeMap<CgroupId, PodCgroup>,
    cgroups_of: BTreeMap<PodUid, BTreeSet<CgroupId>>,
    placeholders: BTreeMap<PodUid, CgroupId>,
    next: u64,
    /// The workload last returned for each cgroup.
    said: BTreeMap<CgroupId, Workload>,
    notices: BTreeMap<PodUid, Vec<Notice>>,
}

impl Pods {
    /// No pods.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            objects: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            claims: BTreeMap::new(),
            orphans: BTreeMap::new(),
            cgroups: BTreeMap::new(),
            cgroups_of: BTreeMap::new(),
            placeholders: BTreeMap::new(),
            next: 0,
            said: BTreeMap::new(),
            notices: BTreeMap::new(),
        }
    }

    /// Applies an update of a pod or namespace, and returns the resulting updates of workloads.
    pub fn note(&mut self, update: &Update) -> Vec<Update> {
        match update {
            Update::Apply(Object::Pod(pod)) => self.set_pod(&name(&pod.meta), Some(pod)),
            Update::Apply(Object::Namespace(object)) => {
                let namespace = Namespace::new(&object.meta.name);
                self.set_namespace(&namespace, Some(object))
            }
            Update::Delete(ObjectId {
                kind: Kind::Pod,
                namespace,
                name,
            }) => self.set_pod(&(namespace.clone(), name.clone()), None),
            Update::Delete(ObjectId {
                kind: Kind::Namespace,
                name,
                ..
            }) => self.set_namespace(&Namespace::new(name), None),
            _ => Vec::new(),
        }
    }

    /// A cgroup of a pod has appeared.
    pub fn appeared(&mut self, cgroup: CgroupId, found: PodCgroup) -> Vec<Update> {
        let uid = found.pod().clone();
        self.cgroups_of.entry(uid.clone()).or_default().insert(cgroup);
        self.cgroups.insert(cgroup, found);
        self.update_pod(&uid)
    }

    /// A cgroup is gone.
    pub fn gone(&mut self, cgroup: CgroupId) -> Vec<Update> {
        let Some(found) = self.cgroups.remove(&cgroup) else {
            return Vec::new();
        };
        let uid = found.pod();
        if let Some(cgroups) = self.cgroups_of.get_mut(uid) {
            cgroups.remove(&cgroup);
            if cgroups.is_empty() {
                self.cgroups_of.remove(uid);
                self.orphans.remove(uid);
            }
        }
        let forgotten = self.said.remove(&cgroup);
        let mut updates: Vec<_> = forgotten
            .map(|_| Update::WorkloadGone(cgroup))
            .into_iter()
            .collect();
        updates.extend(self.update_pod(uid));
        updates
    }

    /// The cgroups of a pod itself, without those of its containers.
    pub fn cgroups(&self, uid: &PodUid) -> impl Iterator<Item = CgroupId> {
        let cgroups = self.cgroups_of.get(uid).into_iter().flatten();
        let is_pod = |cgroup: &&CgroupId| matches!(self.cgroups.get(cgroup), Some(PodCgroup::Pod(_)));
        cgroups.filter(is_pod).copied()
    }

    /// The pod that the cgroup belongs to, if the pod's object is not known.
    pub fn unknown_pod(&self, cgroup: CgroupId) -> Option<&PodUid> {
        let found = self.cgroups.get(&cgroup)?;
        self.object(found.pod()).is_none().then(|| found.pod())
    }

    /// The name of what owns the pod of a cgroup, or of its container's; None of a cgroup that is no known pod's.
    pub fn owner(&self, cgroup: CgroupId) -> Option<String> {
        let pod = self.object(self.cgroups.get(&cgroup)?.pod())?;
        Some(owner::of(pod))
    }

    /// Settings in objects that have no effect, in order.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.notices.values().flatten()
    }

    /// Running pods whose spec names resolvers, each with what it is called: its controller stands for all of its pods.
    pub fn with_servers(&self) -> impl Iterator<Item = (&Pod, String)> {
        let pods = self.objects.values();
        let pods = pods.filter(|pod| !pod.dns.servers.is_empty() && pod.phase != PodPhase::Ended);
        let pods =
            pods.filter(|pod| self.settings.enforcer.is_none() || self.settings.enforcer != uid_of(pod));
        pods.map(|pod| {
            let Meta { namespace, name, .. } = &pod.meta;
            let who = match &pod.controller {
                Some(controller) => format!("pods of {controller} in {namespace}"),
                None => format!("pod {namespace}/{name}"),
            };
            (&**pod, who)
        })
    }

    /// The workload that `pod` would be if it were on this node.
    pub fn workload(&self, pod: &Pod) -> Workload {
        self.read(pod).0
    }

    /// The kubelet deletes and recreates mirrors, and another pod can get the same UID. So the next object inherits
    /// the cgroup, unless it may be a forged mirror of a pod that was just deleted.
    fn set_pod(&mut self, name: &Name, pod: Option<&Arc<Pod>>) -> Vec<Update> {
        let pod = pod.filter(|pod| !pod.node.is_empty() && pod.node == self.settings.node);
        let old = match pod {
            Some(pod) => self.objects.insert(name.clone(), Arc::clone(pod)),
            None => self.objects.remove(name),
        };
        let (was, is) = (old.as_deref().and_then(uid_of), pod.and_then(|pod| uid_of(pod)));
        if let (Some(old), Some(uid)) = (&old, &was) {
            let claims = self.claims.entry(uid.clone()).or_default();
            claims.remove(&claim(old, name));
            let is_left = claims
                .first()
                .is_none_or(|first| first.is_mirror && !is_mirror(old));
            if claims.is_empty() {
                self.claims.remove(uid);
            }
            if is_left && self.cgroups_of.contains_key(uid) {
                self.orphans.insert(uid.clone(), Arc::clone(old));
            }
        }
        if let (Some(pod), Some(uid)) = (pod, &is) {
            let claim = claim(pod, name);
            let inherits = |orphan: &Arc<Pod>| !claim.is_mirror || is_mirror(orphan);
            if self.orphans.get(uid).is_some_and(inherits) {
                self.orphans.remove(uid);
            }
            self.claims.entry(uid.clone()).or_default().insert(claim);
        }
        let touched: BTreeSet<_> = [was, is].into_iter().flatten().collect();
        touched.iter().flat_map(|uid| self.update_pod(uid)).collect()
    }

    fn set_namespace(&mut self, namespace: &Namespace, object: Option<&Arc<NamespaceObject>>) -> Vec<Update> {
        let now = object.map(|object| object.meta.labels.clone());
        let before = match now.clone() {
            Some(labels) => self.namespaces.insert(namespace.clone(), labels),
            None => self.namespaces.remove(namespace),
        };
        if before == now {
            return Vec::new();
        }
        let pods = self.objects.values().chain(self.orphans.values());
        let touched: BTreeSet<_> = pods
            .filter(|pod| pod.meta.namespace == *namespace)
            .filter_map(|pod| uid_of(pod))
            .collect();
        touched.iter().flat_map(|uid| self.update_pod(uid)).collect()
    }

    /// The object of a pod, or its last one if it is deleted.
    fn object(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        let claim = self.claims.get(uid).and_then(BTreeSet::first);
        self.orphans.get(uid).or_else(|| self.objects.get(&claim?.name))
    }

    /// The updates for the cgroups of one pod.
    fn update_pod(&mut self, uid: &PodUid) -> Vec<Update> {
        let mut now: BTreeMap<CgroupId, Workload> = BTreeMap::new();
        let mut notices = Vec::new();
        let pod = self.object(uid).cloned();
        let cgroups = self.cgroups_of.get(uid).cloned().unwrap_or_default();
        if self.settings.enforcer.as_ref() == Some(uid) {
            let own = off(pod.as_deref());
            now.extend(self.cgroups(uid).map(|cgroup| (cgroup, own.clone())));
        } else if let Some(pod) = &pod {
            let (workload, said_in_vain) = self.read(pod);
            notices = said_in_vain;
            let is_off = workload.enforcement == Some(Enforcement::Off);
            let is_to_come = self.claims.contains_key(uid) && pod.phase != PodPhase::Ended;
            if is_to_come && !is_off {
                now.insert(self.placeholder(uid), workload.clone());
            }
            if !is_off {
                now.extend(self.exempt_containers(&cgroups, pod));
            }
            now.extend(self.cgroups(uid).map(|cgroup| (cgroup, workload.clone())));
        }
        if notices.is_empty() {
            self.notices.remove(uid);
        } else {
            self.notices.insert(uid.clone(), notices);
        }
        self.say(uid, &cgroups, now)
    }

    /// The updates that take these cgroups, and their placeholder, from what was last returned to `now`.
    fn say(
        &mut self,
        uid: &PodUid,
        cgroups: &BTreeSet<CgroupId>,
        now: BTreeMap<CgroupId, Workload>,
    ) -> Vec<Update> {
        let placeholder = self.placeholders.get(uid).copied();
        let mut updates = Vec::new();
        for cgroup in cgroups.iter().copied().chain(placeholder) {
            if !now.contains_key(&cgroup) && self.said.remove(&cgroup).is_some() {
                updates.push(Update::WorkloadGone(cgroup));
            }
        }
        if placeholder.is_some_and(|placeholder| !now.contains_key(&placeholder)) {
            self.placeholders.remove(uid);
        }
        for (cgroup, workload) in now {
            if self.said.get(&cgroup) != Some(&workload) {
                self.said.insert(cgroup, workload.clone());
                updates.push(Update::Workload(cgroup, workload));
            }
        }
        updates
    }

    /// A placeholder identifier for a pod, with which its names are resolved before it has a cgroup.
    fn placeholder(&mut self, uid: &PodUid) -> CgroupId {
        let next = &mut self.next;
        *self.placeholders.entry(uid.clone()).or_insert_with(|| {
            *next += 1;
            CgroupId(PLACEHOLDER | POD | *next)
        })
    }

    fn exempt_containers(&self, cgroups: &BTreeSet<CgroupId>, pod: &Pod) -> Vec<(CgroupId, Workload)> {
        let name = |cgroup: &CgroupId| match self.cgroups.get(cgroup)? {
            PodCgroup::Pod(_) => None,
            PodCgroup::Container { id, .. } => {
                let mut containers = pod.containers.iter();
                let container = containers.find(|container| container.id == *id)?;
                let is_exempt = self.settings.exempt.contains(&container.name);
                is_exempt.then(|| container.name.clone())
            }
        };
        let exempt = cgroups.iter().filter_map(|cgroup| Some((*cgroup, name(cgroup)?)));
        let workload = |container: &str| {
            let name = container::name(&pod.meta.name, container);
            Workload {
                enforcement: Some(Enforcement::Off),
                ..Workload::new(pod.meta.namespace.clone(), &name, pod.meta.labels.clone())
            }
        };
        exempt.map(|(cgroup, name)| (cgroup, workload(&name))).collect()
    }

    fn read(&self, pod: &Pod) -> (Workload, Vec<Notice>) {
        let namespace = &pod.meta.namespace;
        let mut of_namespace = self.namespaces.get(namespace).cloned().unwrap_or_default();
        of_namespace.insert(NAMESPACE_NAME.to_owned(), namespace.as_str().to_owned());
        let (enforcement, notices) = self.settings.scope.enforcement(pod, &of_namespace);
        // A pod in the node's network has the node's addresses.
        let has_own = self.settings.own_addresses && !pod.host_network;
        let own = if has_own {
            pod.addresses.iter().copied().collect()
        } else {
            OwnAddresses::default()
        };
        let workload = Workload {
            enforcement: Some(enforcement),
            own,
            asks_node: self.settings.node_dns && pod.asks_node(),
            has_proxy: self.settings.proxies && pod.proxy.is_some(),
            is_gateway: pod.proxy == Some(Proxy::Gateway),
            ..Workload::new(namespace.clone(), &pod.meta.name, pod.meta.labels.clone())
        };
        (workload, notices)
    }
}

/// The enforcer's own pod.
fn off(pod: Option<&Pod>) -> Workload {
    let (namespace, name) = match pod {
        Some(pod) => (pod.meta.namespace.clone(), pod.meta.name.as_str()),
        None => (Namespace::new(Namespace::DEFAULT), "enforcer"),
    };
    Workload {
        enforcement: Some(Enforcement::Off),
        ..Workload::new(namespace, name, Labels::new())
    }
}

fn name(meta: &crate::istio::Meta) -> Name {
    (meta.namespace.clone(), meta.name.clone())
}

/// The UID that the kubelet uses for the pod.
fn uid_of(pod: &Pod) -> Option<PodUid> {
    PodUid::new(pod.meta.annotations.get(MIRROR).unwrap_or(&pod.uid))
}

fn is_mirror(pod: &Pod) -> bool {
    pod.meta.annotations.contains_key(MIRROR)
}

fn claim(pod: &Pod, name: &Name) -> Claim {
    Claim {
        is_mirror: is_mirror(pod),
        created: pod.meta.created,
        name: name.clone(),
    }
}
