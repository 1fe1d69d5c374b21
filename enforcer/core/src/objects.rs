//! Every current object, by kind, and the queries that need several of them.
//!
//! It must never interpret objects: `view` and `policy` decide what an object means for a workload.

mod owner;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, LazyLock},
};

pub(crate) use owner::{Owner, OwnerKey};

use crate::{
    istio::{
        EndpointAddress, EndpointSlice, MeshConfig, Meta, NamespaceObject, NodeObject, Object, Pod, PodPhase,
        Service, ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
    },
    model::{Enforcement, Host, Labels, Namespace, selects},
};

/// Namespace and name: the key among objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: Namespace,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &Namespace, name: &str) -> Self {
        Self {
            namespace: namespace.clone(),
            name: name.to_owned(),
        }
    }
}

type Store<T> = BTreeMap<Key, Arc<T>>;

/// The objects, and the resolved addresses.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) entries: Store<ServiceEntry>,
    pub(crate) workload_entries: Store<WorkloadEntry>,
    pub(crate) sidecars: Store<Sidecar>,
    pub(crate) virtual_services: Store<VirtualService>,
    pub(crate) meshes: Store<MeshConfig>,
    pub(crate) services: Store<Service>,
    pub(crate) pods: Store<Pod>,
    pub(crate) namespaces: Store<NamespaceObject>,
    pub(crate) nodes: Store<NodeObject>,
    slices: Store<EndpointSlice>,
    /// Names of slices by the Service they belong to.
    slices_of: BTreeMap<Key, BTreeSet<String>>,
    pub(crate) resolved: BTreeMap<Host, BTreeSet<IpAddr>>,
}

/// What a workload selector chooses.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    /// Of Pods and WorkloadEntries.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Of WorkloadEntries at a name.
    pub(crate) names: BTreeSet<Host>,
    /// Whether a WorkloadEntry at a socket of the file system is among them.
    pub(crate) has_socket: bool,
    /// Whether a WorkloadEntry without an address is among them: it is behind another network's gateway.
    pub(crate) is_elsewhere: bool,
}

impl Objects {
    /// How many objects there are of each kind.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 10] {
        [
            ("ServiceEntry", self.entries.len()),
            ("WorkloadEntry", self.workload_entries.len()),
            ("Sidecar", self.sidecars.len()),
            ("VirtualService", self.virtual_services.len()),
            ("MeshConfig", self.meshes.len()),
            ("Service", self.services.len()),
            ("EndpointSlice", self.slices.len()),
            ("Pod", self.pods.len()),
            ("Namespace", self.namespaces.len()),
            ("Node", self.nodes.len()),
        ]
    }

    /// The mesh's configuration: the one of `revision` (`istio-<revision>`), else `istio`, else the first by
    /// name, else Istio's defaults.
    pub(crate) fn mesh(&self, revision: &str) -> &MeshConfig {
        static DEFAULT: LazyLock<MeshConfig> = LazyLock::new(MeshConfig::default);
        let named = |name: &str| self.meshes.values().find(|mesh| mesh.meta.name == name);
        named(&format!("istio-{revision}"))
            .or_else(|| named("istio"))
            .or_else(|| self.meshes.values().next())
            .map_or(&*DEFAULT, |mesh| mesh)
    }

    /// Every object, kind by kind.
    pub(crate) fn all(&self) -> impl Iterator<Item = Object> {
        fn of<T>(store: &Store<T>, make: impl Fn(Arc<T>) -> Object) -> impl Iterator<Item = Object> {
            store.values().map(move |object| make(Arc::clone(object)))
        }
        of(&self.entries, Object::ServiceEntry)
            .chain(of(&self.workload_entries, Object::WorkloadEntry))
            .chain(of(&self.sidecars, Object::Sidecar))
            .chain(of(&self.virtual_services, Object::VirtualService))
            .chain(of(&self.meshes, Object::MeshConfig))
            .chain(of(&self.services, Object::Service))
            .chain(of(&self.namespaces, Object::Namespace))
            .chain(of(&self.nodes, Object::Node))
            .chain(of(&self.pods, Object::Pod))
            .chain(of(&self.slices, Object::EndpointSlice))
    }

    /// The labels of a namespace. The API server labels each with its own name, so a namespace whose object is not
    /// known has at least that label.
    pub(crate) fn namespace_labels(&self, namespace: &Namespace) -> Labels {
        let key = Key::new(&Namespace::new(""), namespace.as_str());
        let mut labels = self
            .namespaces
            .get(&key)
            .map_or_else(Labels::new, |object| object.meta.labels.clone());
        labels.insert(
            "kubernetes.io/metadata.name".to_owned(),
            namespace.as_str().to_owned(),
        );
        labels
    }

    /// The namespaces that exist as far as objects say so: those of Namespaces, and all in which any object is.
    pub(crate) fn inhabited(&self) -> BTreeSet<&str> {
        fn of<T>(store: &Store<T>) -> impl Iterator<Item = &str> {
            store.keys().map(|key| key.namespace.as_str())
        }
        let named = self.namespaces.keys().map(|key| key.name.as_str());
        named
            .chain(of(&self.entries))
            .chain(of(&self.workload_entries))
            .chain(of(&self.sidecars))
            .chain(of(&self.virtual_services))
            .chain(of(&self.services))
            .chain(of(&self.slices))
            .chain(of(&self.pods))
            .collect()
    }

    /// The mode that the label of a namespace sets; None if it has none.
    pub(crate) fn mode_of_namespace(&self, namespace: &Namespace) -> Option<Enforcement> {
        let key = Key::new(&Namespace::new(""), namespace.as_str());
        let label = self.namespaces.get(&key)?.meta.labels.get(Enforcement::LABEL)?;
        Some(Enforcement::of_label(label))
    }

    /// Stores or removes a slice, and returns the Services whose endpoints it affects.
    pub(crate) fn set_slice(&mut self, key: &Key, slice: Option<Arc<EndpointSlice>>) -> Vec<Key> {
        let service = |slice: &EndpointSlice| Key::new(&slice.meta.namespace, &slice.service);
        let mut touched = Vec::new();
        if let Some(old) = self.slices.remove(key) {
            let of = service(&old);
            if let Some(names) = self.slices_of.get_mut(&of) {
                names.remove(&key.name);
                if names.is_empty() {
                    self.slices_of.remove(&of);
                }
            }
            touched.push(of);
        }
        if let Some(new) = slice {
            let of = service(&new);
            self.slices_of
                .entry(of.clone())
                .or_default()
                .insert(key.name.clone());
            self.slices.insert(key.clone(), new);
            touched.push(of);
        }
        touched
    }

    /// The slices of a Service's endpoints.
    pub(crate) fn slices<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
        let namespace = &service.meta.namespace;
        let names = self.slices_of.get(&Key::new(namespace, &service.meta.name));
        names
            .into_iter()
            .flatten()
            .filter_map(|name| self.slices.get(&Key::new(namespace, name)))
    }

    /// The addresses of a Service's endpoints that serve its ports of a number: those whose slice has such a port,
    /// by its name.
    pub(crate) fn endpoints_on(&self, service: &Service, number: u16) -> BTreeSet<IpAddr> {
        let ports = service.ports.iter().filter(|port| port.number == number);
        let names: Vec<&str> = ports.map(|port| port.name.as_str()).collect();
        self.slices(service)
            .filter(|slice| slice.ports.iter().any(|port| names.contains(&port.name.as_str())))
            .flat_map(|slice| slice.addresses.iter().map(IpAddr::to_canonical))
            .collect()
    }

    /// The addresses of a Service's endpoints.
    pub(crate) fn endpoints(&self, service: &Service) -> BTreeSet<IpAddr> {
        self.slices(service)
            .flat_map(|slice| slice.addresses.iter().map(IpAddr::to_canonical))
            .collect()
    }

    /// The resolved addresses of a host; for a wildcard those of all known names under it.
    pub(crate) fn addresses_of(&self, host: &Host) -> BTreeSet<IpAddr> {
        if !host.is_wildcard() {
            return self.resolved.get(host).cloned().unwrap_or_default();
        }
        let under = self.resolved.iter().filter(|(name, _)| host.covers(name));
        under
            .flat_map(|(_, addresses)| addresses.iter().copied())
            .collect()
    }

    /// The Pods that `selector` chooses in `namespace`, ready or not.
    pub(crate) fn chosen_pods<'a>(
        &'a self,
        namespace: &'a Namespace,
        selector: &'a Labels,
    ) -> impl Iterator<Item = &'a Arc<Pod>> {
        in_namespace(&self.pods, namespace).filter(|pod| selects(selector, &pod.meta.labels))
    }

    /// The healthy WorkloadEntries of `revision` that `selector` chooses in `namespace`.
    pub(crate) fn chosen_entries<'a>(
        &'a self,
        namespace: &'a Namespace,
        selector: &'a Labels,
        revision: &'a str,
    ) -> impl Iterator<Item = &'a Arc<WorkloadEntry>> {
        in_namespace(&self.workload_entries, namespace)
            .filter(move |entry| entry.healthy && is_of_revision(&entry.meta, revision))
            .filter(|entry| {
                let label = |key: &String| {
                    let of_metadata = entry.meta.labels.get(key);
                    of_metadata.or_else(|| entry.endpoint.labels.get(key))
                };
                selector.iter().all(|(key, value)| label(key) == Some(value))
            })
    }

    /// What `selector` chooses in `namespace`: its ready Pods, and its healthy WorkloadEntries of `revision`.
    pub(crate) fn selected(&self, namespace: &Namespace, selector: &Labels, revision: &str) -> Selected {
        let mut selected = Selected::default();
        for pod in self.chosen_pods(namespace, selector).filter(|pod| is_chosen(pod)) {
            let addresses = pod.addresses.iter().map(IpAddr::to_canonical);
            selected.addresses.extend(addresses);
        }
        for entry in self.chosen_entries(namespace, selector, revision) {
            match &entry.endpoint.address {
                EndpointAddress::Ip(address) => {
                    selected.addresses.insert(address.to_canonical());
                }
                EndpointAddress::Host(name) => {
                    selected.names.insert(name.clone());
                }
                EndpointAddress::Unix(_) => selected.has_socket = true,
                EndpointAddress::Unset => selected.is_elsewhere = true,
            }
        }
        selected
    }
}

/// The objects of one namespace, by name.
pub(crate) fn in_namespace<'a, T>(
    store: &'a Store<T>,
    namespace: &'a Namespace,
) -> impl Iterator<Item = &'a Arc<T>> {
    store
        .range(Key::new(namespace, "")..)
        .take_while(move |(key, _)| key.namespace == *namespace)
        .map(|(_, object)| object)
}

/// Whether selectors can choose a pod: it is ready, and not being deleted (`onEvent` in `pod.go`).
pub(crate) fn is_chosen(pod: &Pod) -> bool {
    pod.is_ready && matches!(pod.phase, PodPhase::Waiting | PodPhase::Running)
}

/// The labels of a WorkloadEntry for selectors: those of its `spec`, overridden by those of its metadata
/// (`serviceentry/conversion.go`, `ConvertWorkloadEntry`).
pub(crate) fn workload_labels(entry: &WorkloadEntry) -> Labels {
    let mut labels = entry.endpoint.labels.clone();
    labels.extend(entry.meta.labels.clone());
    labels
}

/// Whether an Istio object counts for `revision`: it has no revision label, or this one. An empty revision
/// accepts all (`config.LabelsInRevision`).
pub(crate) fn is_of_revision(meta: &Meta, revision: &str) -> bool {
    let label = meta.labels.get(Meta::REVISION);
    revision.is_empty() || label.is_none_or(|label| label == revision)
}
