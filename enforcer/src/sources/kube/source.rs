//! The collections that are followed.

use enforcer_core::{
    istio::{Kind, ObjectId},
    model::Namespace,
};

use super::Settings;

/// One collection, or the part of it that a selector leaves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    /// As users know it.
    pub(super) name: String,
    /// The kind of its objects.
    pub(super) kind: Kind,
    group: &'static str,
    /// The newest first; each has the same meaning.
    versions: &'static [&'static str],
    plural: &'static str,
    /// None means the whole cluster.
    namespace: Option<Namespace>,
    /// The field selector for the server.
    pub(super) fields: Option<String>,
}

const ISTIO: &str = "networking.istio.io";
const ISTIO_VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

impl Source {
    /// The sources that are always followed.
    pub(super) fn all(settings: &Settings, node: &str) -> Vec<Self> {
        let mut sources = vec![
            Self::istio(Kind::ServiceEntry, "serviceentries"),
            Self::istio(Kind::WorkloadEntry, "workloadentries"),
            Self::istio(Kind::Sidecar, "sidecars"),
            Self::istio(Kind::VirtualService, "virtualservices"),
            Self::core(Kind::Service, "services"),
            Self {
                group: "discovery.k8s.io",
                versions: &["v1", "v1beta1"],
                ..Self::core(Kind::EndpointSlice, "endpointslices")
            },
            Self::core(Kind::Namespace, "namespaces"),
            Self::core(Kind::Node, "nodes"),
            Self {
                name: "Pod (this node)".to_owned(),
                fields: Some(format!("spec.nodeName={node}")),
                ..Self::core(Kind::Pod, "pods")
            },
        ];
        let revision = settings
            .revision
            .iter()
            .map(|revision| format!("istio-{revision}"));
        for name in std::iter::once("istio".to_owned()).chain(revision) {
            let namespace = &settings.access.mesh_namespace;
            sources.push(Self {
                name: format!("ConfigMap {namespace}/{name}"),
                namespace: Some(namespace.clone()),
                fields: Some(format!("metadata.name={name}")),
                ..Self::core(Kind::MeshConfig, "configmaps")
            });
        }
        sources
    }

    /// The pods of a namespace that are on other nodes, or on none yet: workload selectors select them too.
    pub(super) fn selectable(namespace: &Namespace, node: &str) -> Self {
        Self {
            name: format!("Pod (selectable in {namespace})"),
            namespace: Some(namespace.clone()),
            fields: Some(format!("spec.nodeName!={node}")),
            ..Self::core(Kind::Pod, "pods")
        }
    }

    /// The sources from which a registry can be made by whoever asks once.
    pub(super) fn of_registry() -> Vec<Self> {
        vec![
            Self::istio(Kind::ServiceEntry, "serviceentries"),
            Self::istio(Kind::WorkloadEntry, "workloadentries"),
            Self::istio(Kind::Sidecar, "sidecars"),
            Self::core(Kind::Service, "services"),
            Self::core(Kind::Namespace, "namespaces"),
            Self::core(Kind::Pod, "pods"),
        ]
    }

    /// The collection of an object in its namespace, for objects about which somebody is told.
    pub(super) fn one(id: &ObjectId) -> Option<Self> {
        let source = match id.kind {
            Kind::ServiceEntry => Self::istio(id.kind, "serviceentries"),
            Kind::Sidecar => Self::istio(id.kind, "sidecars"),
            Kind::WorkloadEntry => Self::istio(id.kind, "workloadentries"),
            Kind::VirtualService => Self::istio(id.kind, "virtualservices"),
            Kind::Service => Self::core(id.kind, "services"),
            Kind::MeshConfig => Self::core(id.kind, "configmaps"),
            _ => return None,
        };
        Some(Self {
            namespace: Some(id.namespace.clone()),
            ..source
        })
    }

    /// Whether its objects serve for warnings alone: nothing waits for them, and none has to be there.
    pub(super) fn is_for_warnings(&self) -> bool {
        self.kind == Kind::VirtualService
    }

    fn core(kind: Kind, plural: &'static str) -> Self {
        Self {
            name: format!("{kind:?}"),
            kind,
            group: "",
            versions: &["v1"],
            plural,
            namespace: None,
            fields: None,
        }
    }

    fn istio(kind: Kind, plural: &'static str) -> Self {
        Self {
            group: ISTIO,
            versions: ISTIO_VERSIONS,
            ..Self::core(kind, plural)
        }
    }

    /// The number of versions in which it may be served.
    pub(super) fn versions(&self) -> usize {
        self.versions.len()
    }

    /// `apiVersion` of its objects in one of these.
    pub(super) fn api_version(&self, version: usize) -> String {
        let version = self.versions[version % self.versions.len()];
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// `kind` of its objects.
    pub(super) fn object_kind(&self) -> String {
        match self.kind {
            Kind::MeshConfig => "ConfigMap".to_owned(),
            kind => format!("{kind:?}"),
        }
    }

    /// Where it is served in one of its versions.
    pub(super) fn path(&self, version: usize) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let base = format!("{root}/{}", self.api_version(version));
        match &self.namespace {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{}", self.plural),
            None => format!("{base}/{}", self.plural),
        }
    }

    /// The path of its group's description; None for the kinds that every server has.
    pub(super) fn group_path(&self) -> Option<String> {
        (!self.group.is_empty()).then(|| format!("/apis/{}", self.group))
    }

    /// Its name among the resources of its group.
    pub(super) fn plural(&self) -> &'static str {
        self.plural
    }

    /// The identifier of an object in it.
    pub(super) fn id(&self, namespace: &str, name: &str) -> ObjectId {
        ObjectId {
            kind: self.kind,
            namespace: Namespace::new(namespace),
            name: name.to_owned(),
        }
    }
}
