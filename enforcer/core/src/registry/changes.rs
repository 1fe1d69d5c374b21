//! What an update affects.

use std::{collections::BTreeSet, mem, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{Infrastructure, Registry, Update};
use crate::{
    istio::{
        EndpointSlice, Kind, MeshConfig, NodeObject, Object, ObjectId, Pod, Service, ServiceEntry,
        WorkloadEntry,
    },
    model::{Host, Labels, Namespace},
    objects::{Key, OwnerKey, is_chosen, workload_labels},
    offer::{selecting, served_by, service_host},
};

/// What has to be recomputed.
#[derive(Debug, Default)]
pub(super) struct Stale {
    pub(super) hosts: BTreeSet<Host>,
    /// Every host and every workload's view.
    pub(super) everything: bool,
    /// The assignment of workloads to views.
    pub(super) assignments: bool,
    /// The networks of the cluster.
    pub(super) cluster: bool,
}

impl Registry {
    /// Whether anything can follow from an update: not from a Node that is where it was, which its kubelet writes every
    /// few minutes.
    pub fn is_news(&self, update: &Update) -> bool {
        let Update::Apply(Object::Node(new)) = update else {
            return true;
        };
        let old = self
            .objects
            .nodes
            .get(&Key::new(&new.meta.namespace, &new.meta.name));
        old.is_none_or(|old| place(old) != place(new))
    }

    /// Applies one update. Its effects are computed when a result is requested.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Apply(object) => {
                let key = key(&object.id());
                self.set(&key, object);
            }
            Update::Delete(id) => self.delete(&id),
            Update::Resolved { host, addresses } => {
                let addresses = addresses.iter().map(IpAddr::to_canonical).collect();
                self.resolved(host, addresses);
            }
            Update::Workload(cgroup, workload) => {
                let old = self.workloads.insert(cgroup, workload);
                self.stale.assignments |= old.as_ref() != self.workloads.get(&cgroup);
            }
            Update::WorkloadGone(cgroup) => {
                self.stale.assignments |= self.workloads.remove(&cgroup).is_some();
            }
        }
    }

    fn set(&mut self, key: &Key, object: Object) {
        match object {
            Object::ServiceEntry(object) => self.entry(key, Some(object)),
            Object::Service(object) => self.service(key, Some(object)),
            Object::WorkloadEntry(object) => self.workload_entry(key, Some(object)),
            Object::Pod(object) => self.pod(key, Some(object)),
            Object::EndpointSlice(object) => self.slice(key, Some(object)),
            Object::Sidecar(object) => {
                let old = self.objects.sidecars.insert(key.clone(), object.clone());
                self.stale.assignments |= old.as_ref() != Some(&object);
            }
            Object::VirtualService(object) => {
                self.objects.virtual_services.insert(key.clone(), object);
            }
            Object::MeshConfig(object) => self.mesh(key, Some(object)),
            Object::Node(object) => self.node(key, Some(object)),
            Object::Namespace(object) => {
                let old = self.objects.namespaces.insert(key.clone(), object.clone());
                if old.is_none_or(|old| old.meta.labels != object.meta.labels) {
                    self.namespace_changed();
                }
            }
        }
    }

    fn delete(&mut self, id: &ObjectId) {
        let key = key(id);
        match id.kind {
            Kind::ServiceEntry => self.entry(&key, None),
            Kind::Service => self.service(&key, None),
            Kind::WorkloadEntry => self.workload_entry(&key, None),
            Kind::Pod => self.pod(&key, None),
            Kind::EndpointSlice => self.slice(&key, None),
            Kind::Sidecar => {
                self.stale.assignments |= self.objects.sidecars.remove(&key).is_some();
            }
            Kind::VirtualService => drop(self.objects.virtual_services.remove(&key)),
            Kind::MeshConfig => self.mesh(&key, None),
            Kind::Node => self.node(&key, None),
            Kind::Namespace => {
                if self.objects.namespaces.remove(&key).is_some() {
                    self.namespace_changed();
                }
            }
        }
    }

    fn entry(&mut self, key: &Key, new: Option<Arc<ServiceEntry>>) {
        let old = match &new {
            Some(new) => self.objects.entries.insert(key.clone(), new.clone()),
            None => self.objects.entries.remove(key),
        };
        if old == new {
            return;
        }
        let owner = OwnerKey::Entry(key.clone());
        for host in old.iter().flat_map(|old| &old.hosts) {
            self.owners.remove(host, &owner);
            self.stale.hosts.insert(host.clone());
        }
        for host in new.iter().flat_map(|new| &new.hosts) {
            self.owners.add(host.clone(), owner.clone());
            self.stale.hosts.insert(host.clone());
        }
    }

    fn service(&mut self, key: &Key, new: Option<Arc<Service>>) {
        let host = service_host(key, &self.settings);
        let owner = OwnerKey::Service(key.clone());
        let old = match &new {
            Some(new) => self.objects.services.insert(key.clone(), new.clone()),
            None => self.objects.services.remove(key),
        };
        if old == new {
            return;
        }
        self.stale.cluster = true;
        if new.is_some() {
            self.owners.add(host.clone(), owner);
        } else {
            self.owners.remove(&host, &owner);
        }
        self.stale.hosts.insert(host);
        if self
            .settings
            .allowances
            .iter()
            .any(|allowance| allowance.key() == *key)
        {
            self.everybody_changed();
        }
    }

    fn node(&mut self, key: &Key, new: Option<Arc<NodeObject>>) {
        let old = match &new {
            Some(new) => self.objects.nodes.insert(key.clone(), new.clone()),
            None => self.objects.nodes.remove(key),
        };
        self.stale.cluster |= old.as_deref().map(place) != new.as_deref().map(place);
    }

    fn slice(&mut self, key: &Key, new: Option<Arc<EndpointSlice>>) {
        for service in self.objects.set_slice(key, new) {
            let host = service_host(&service, &self.settings);
            self.stale.hosts.insert(host);
        }
    }

    fn workload_entry(&mut self, key: &Key, new: Option<Arc<WorkloadEntry>>) {
        let old = match &new {
            Some(new) => self.objects.workload_entries.insert(key.clone(), new.clone()),
            None => self.objects.workload_entries.remove(key),
        };
        if old == new {
            return;
        }
        for entry in [old, new].into_iter().flatten() {
            let labels = workload_labels(&entry);
            self.selectable(&key.namespace, &labels);
            let services = served_by(&self.objects, &key.namespace, &labels);
            let hosts: Vec<_> = services.map(|it| service_host(&it, &self.settings)).collect();
            self.stale.hosts.extend(hosts);
        }
    }

    fn pod(&mut self, key: &Key, new: Option<Arc<Pod>>) {
        let old = match &new {
            Some(new) => self.objects.pods.insert(key.clone(), new.clone()),
            None => self.objects.pods.remove(key),
        };
        if old == new {
            return;
        }
        // Most changes do not affect selection: a container has started, for example.
        if let (Some(old), Some(new)) = (&old, &new)
            && (&old.meta.labels, &old.addresses, is_chosen(old))
                == (&new.meta.labels, &new.addresses, is_chosen(new))
        {
            return;
        }
        for pod in [old, new].into_iter().flatten() {
            self.selectable(&key.namespace, &pod.meta.labels);
        }
    }

    /// Marks the hosts whose entries select something with these labels, which was added, changed or removed.
    fn selectable(&mut self, namespace: &Namespace, labels: &Labels) {
        let hosts = selecting(&self.objects, namespace, labels);
        self.stale.hosts.extend(hosts.cloned());
    }

    fn mesh(&mut self, key: &Key, new: Option<Arc<MeshConfig>>) {
        let revision = &self.settings.revision;
        let old = self.objects.mesh(revision).clone();
        match new {
            Some(new) => drop(self.objects.meshes.insert(key.clone(), new)),
            None => drop(self.objects.meshes.remove(key)),
        }
        let now = self.objects.mesh(revision);
        if *now != old {
            self.infrastructure = Infrastructure::new(now, &self.settings);
            self.stale.everything = true;
            self.everybody_changed();
        }
    }

    fn namespace_changed(&mut self) {
        let mesh = self.objects.mesh(&self.settings.revision);
        self.stale.everything |= !mesh.discovery_selectors.is_empty() || mesh.visibility.is_some();
        // Its label may set the mode of workloads.
        self.stale.assignments = true;
    }

    /// Goes through all answers again after the cluster's networks have changed.
    pub(super) fn filter_again(&mut self) {
        let hosts: BTreeSet<_> = self.objects.resolved.keys().collect();
        let hosts: BTreeSet<_> = hosts
            .into_iter()
            .chain(self.protected.hosts().map(|(host, _)| host))
            .cloned()
            .collect();
        for host in hosts {
            let whole = self
                .protected
                .whole(&host)
                .or_else(|| self.objects.resolved.get(&host));
            if let Some(whole) = whole.cloned() {
                self.resolved(host, whole);
            }
        }
    }

    fn resolved(&mut self, host: Host, answer: BTreeSet<IpAddr>) {
        let addresses = self.protected.filter(&host, answer, &self.settings);
        let old = if addresses.is_empty() {
            self.objects.resolved.remove(&host).unwrap_or_default()
        } else {
            let slot = self.objects.resolved.entry(host.clone()).or_default();
            mem::replace(slot, addresses.clone())
        };
        if old == addresses {
            return;
        }
        self.stale.hosts.extend(self.owners.wildcards_over(&host));
        self.stale
            .hosts
            .extend(self.users.get(&host).into_iter().flatten().cloned());
        if !self.owners.of(&host).is_empty() || self.infrastructure.has(&host) {
            self.stale.hosts.insert(host);
        }
    }
}

/// What counts of a node: where it and its pods are.
fn place(node: &NodeObject) -> (&[IpNet], &[IpAddr]) {
    (&node.pods, &node.addresses)
}

fn key(id: &ObjectId) -> Key {
    Key::new(&id.namespace, &id.name)
}
