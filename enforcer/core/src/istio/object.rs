//! Valid documents in the types of the domain. Nothing here can hold an invalid value.

mod pod;
mod service;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use crate::model::{Host, Labels, Namespace, Protocol, Transport, selects};

pub use pod::{Container, DnsPolicy, PROXY_CONTAINER, Pod, PodDns, PodPhase, Proxy};
pub use service::{EndpointSlice, Service, ServiceKind, SlicePort};

/// Any object that the registry is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry(Arc<ServiceEntry>),
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry(Arc<WorkloadEntry>),
    /// `networking.istio.io` Sidecar.
    Sidecar(Arc<Sidecar>),
    /// The `mesh` key of the ConfigMap `istio`, or a document of the kind MeshConfig.
    MeshConfig(Arc<MeshConfig>),
    /// `v1` Service.
    Service(Arc<Service>),
    /// `discovery.k8s.io` EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// `v1` Pod.
    Pod(Arc<Pod>),
    /// `v1` Namespace.
    Namespace(Arc<NamespaceObject>),
    /// `v1` Node.
    Node(Arc<NodeObject>),
}

/// The kinds of [`Object`], by the names that users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`ServiceEntry`].
    ServiceEntry,
    /// [`WorkloadEntry`].
    WorkloadEntry,
    /// [`Sidecar`].
    Sidecar,
    /// [`MeshConfig`].
    MeshConfig,
    /// [`Service`].
    Service,
    /// [`EndpointSlice`].
    EndpointSlice,
    /// [`Pod`].
    Pod,
    /// [`NamespaceObject`].
    Namespace,
    /// [`NodeObject`].
    Node,
}

/// The key of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that have none.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

/// `ServiceEntry frontend/db`.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.as_str().is_empty() {
            write!(f, "{:?} {}", self.kind, self.name)
        } else {
            write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// The parts of `metadata` that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Empty for kinds that have none, `default` if a document names none.
    pub namespace: Namespace,
    /// The object's name.
    pub name: String,
    /// Its labels. Of ServiceEntries, Services and EndpointSlices, which are many, only the one of the revision is
    /// kept: nothing selects them.
    pub labels: Labels,
    /// Its annotations; none of those kinds', once they are read.
    pub annotations: Labels,
    /// `creationTimestamp` in seconds since 1970; None if a document has none, which counts as older than any.
    pub created: Option<i64>,
}

impl Meta {
    /// The label of an object of Istio's that says for which revision it is.
    pub(crate) const REVISION: &str = "istio.io/rev";

    /// Drops the labels and annotations that are not needed after reading an object that nothing selects.
    pub(super) fn of_unselected(mut self) -> Self {
        self.labels.retain(|key, _| key == Self::REVISION);
        self.annotations = Labels::new();
        self
    }
}

/// A valid ServiceEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Whose it is.
    pub meta: Meta,
    /// At least one; never `*`.
    pub hosts: Vec<Host>,
    /// `addresses`, host bits cleared, one address as a network of one. As written: `0.0.0.0` and `::`, which
    /// Istio takes for "no address", are kept as networks of one.
    pub addresses: Vec<IpNet>,
    /// The ports; none means that nothing is reachable.
    pub ports: Vec<ServicePort>,
    /// How the upstream's addresses are found.
    pub resolution: Resolution,
    /// `endpoints`.
    pub endpoints: Vec<Endpoint>,
    /// `workloadSelector`; Some and empty selects everything in the namespace.
    pub selector: Option<Labels>,
    /// `exportTo`; empty stands for the mesh's default.
    pub export_to: Vec<ExportTo>,
    /// `status.addresses`: addresses that istiod allocated, by host.
    pub allocated: BTreeMap<Host, Vec<IpAddr>>,
}

/// A port of a ServiceEntry or a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port that clients dial, never 0.
    pub number: u16,
    /// Unique within its object.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// `targetPort`; it changes only where a proxy would send the bytes.
    pub target: Option<u16>,
}

/// `resolution` of a ServiceEntry; absent means None.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// To where the client dialled.
    None,
    /// To the endpoints.
    Static,
    /// To the addresses of the endpoints' or the hosts' names.
    Dns,
    /// To the first of them.
    DnsRoundRobin,
    /// To the address of whatever name the request carries.
    DynamicDns,
}

/// An endpoint of a ServiceEntry, or a WorkloadEntry's `spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: EndpointAddress,
    /// Ports by the name of the entry's port.
    pub ports: BTreeMap<String, u16>,
    /// Its labels.
    pub labels: Labels,
    /// The network it is in, empty for the mesh's own.
    pub network: String,
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAddress {
    /// At an address; never an IPv4-mapped one.
    Ip(IpAddr),
    /// At the addresses of a name.
    Host(Host),
    /// At a socket of the file system, without the `unix://`.
    Unix(String),
    /// In another network, behind its gateway.
    Unset,
}

/// An element of `exportTo`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExportTo {
    /// `*`.
    Everyone,
    /// `~`.
    Nobody,
    /// `.`.
    Own,
    /// A namespace by name.
    Namespace(Namespace),
}

/// A valid WorkloadEntry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadEntry {
    /// Whose it is.
    pub meta: Meta,
    /// Its `spec`; labels of the metadata are not among [`Endpoint::labels`].
    pub endpoint: Endpoint,
    /// False if a health check has found it unhealthy (`status.conditions`).
    pub healthy: bool,
}

/// A valid Sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Whose it is.
    pub meta: Meta,
    /// `workloadSelector.labels`; Some and empty matches every workload and still counts as a selector.
    pub selector: Option<Labels>,
    /// `egress`; empty imports everything.
    pub egress: Vec<EgressListener>,
    /// `outboundTrafficPolicy`; None stands for the mesh's.
    pub mode: Option<OutboundMode>,
}

/// `outboundTrafficPolicy.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboundMode {
    /// Unregistered destinations are let through.
    AllowAny,
    /// Unregistered destinations are refused; what `{}` means.
    RegistryOnly,
}

/// An element of a Sidecar's `egress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressListener {
    /// The one port it is for, with the protocol that replaces the services' own; None: for all ports.
    pub port: Option<(u16, Protocol)>,
    /// What it imports and what it leaves out.
    pub hosts: Vec<EgressHost>,
    /// `bind` or `captureMode: NONE`: the application dials the listener and not the service.
    pub is_bound: bool,
}

/// An element of `egress[].hosts`, in its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EgressHost {
    /// False for `~namespace/host` and `~/host`: subtracted from whatever is imported.
    pub imports: bool,
    /// Whose services are meant.
    pub namespace: EgressNamespace,
    /// `*`, `*.suffix` or a name.
    pub host: Host,
}

/// The namespace part of an [`EgressHost`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EgressNamespace {
    /// `*`, or the empty one of `~/host`.
    Any,
    /// `.`: the workload's.
    Own,
    /// By name.
    Named(Namespace),
}

/// The mesh's configuration, as far as it says what is reachable. `Default` is Istio's
/// (`pkg/config/mesh/mesh.go`, `DefaultMeshConfig`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshConfig {
    /// Where it was read from.
    pub meta: Meta,
    /// `outboundTrafficPolicy`; None if it is absent.
    pub mode: Option<OutboundMode>,
    /// `defaultServiceExportTo`, never empty.
    pub default_export_to: Vec<ExportTo>,
    /// `rootNamespace`.
    pub root_namespace: Namespace,
    /// `discoverySelectors`: objects of a namespace that none of them selects are ignored; empty selects all.
    pub discovery_selectors: Vec<LabelSelector>,
    /// `serviceEntryVisibility`.
    pub visibility: Option<ServiceEntryVisibility>,
    /// What it tells every proxy to dial, in order, each once.
    pub dialled: Vec<Dialled>,
}

/// An address that the mesh's configuration tells every proxy to dial: istiod's, or one for telemetry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dialled {
    /// An address, or a name in lower case, as written: `istiod.istio-system.svc`.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// What carries it.
    pub transport: Transport,
}

/// A Kubernetes label selector: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub labels: Labels,
    /// `matchExpressions`.
    pub expressions: Vec<LabelExpression>,
}

/// An element of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
}

/// `operator` with its `values`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelOperator {
    /// One of the values.
    In(Vec<String>),
    /// Absent, or none of the values.
    NotIn(Vec<String>),
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether `labels` are what it asks for; an empty one asks for nothing.
    pub fn fits(&self, labels: &Labels) -> bool {
        let mut expressions = self.expressions.iter();
        selects(&self.labels, labels) && expressions.all(|expression| expression.holds(labels))
    }
}

impl LabelExpression {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            LabelOperator::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelOperator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// `serviceEntryVisibility`: an upper bound to `exportTo`, by the entry's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceEntryVisibility {
    /// The first policy whose selector fits the entry's namespace bounds it. Several `matchingRules` are one
    /// selector; `defaultVisibility` is a last policy that fits every namespace.
    pub policies: Vec<(LabelSelector, Visibility)>,
    /// Whether sidecars honour it; without, only ambient does.
    pub apply_to_sidecars: bool,
}

/// The widest visibility that an entry can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// By nobody.
    None,
    /// In its own namespace.
    Namespace,
    /// Everywhere.
    Public,
}

/// A Kubernetes Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceObject {
    /// Its name is [`Meta::name`]; [`Meta::namespace`] is empty.
    pub meta: Meta,
}

/// A Kubernetes Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObject {
    /// Its name is [`Meta::name`]; [`Meta::namespace`] is empty.
    pub meta: Meta,
    /// `spec.podCIDRs`: where its pods are, if the cluster gives out addresses by node.
    pub pods: Vec<IpNet>,
    /// `status.addresses`, but for names.
    pub addresses: Vec<IpAddr>,
}

impl Object {
    /// Whose it is.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::ServiceEntry(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
            Self::Sidecar(object) => &object.meta,
            Self::MeshConfig(object) => &object.meta,
            Self::Service(object) => &object.meta,
            Self::EndpointSlice(object) => &object.meta,
            Self::Pod(object) => &object.meta,
            Self::Namespace(object) => &object.meta,
            Self::Node(object) => &object.meta,
        }
    }

    /// Its key.
    pub fn id(&self) -> ObjectId {
        let kind = match self {
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
            Self::Sidecar(_) => Kind::Sidecar,
            Self::MeshConfig(_) => Kind::MeshConfig,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Pod(_) => Kind::Pod,
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
        };
        let meta = self.meta();
        ObjectId {
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        }
    }
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            meta: Meta {
                namespace: Namespace::new("istio-system"),
                name: "istio".to_owned(),
                labels: Labels::new(),
                annotations: Labels::new(),
                created: None,
            },
            mode: None,
            default_export_to: vec![ExportTo::Everyone],
            root_namespace: Namespace::new("istio-system"),
            discovery_selectors: Vec::new(),
            visibility: None,
            dialled: Vec::new(),
        }
    }
}
