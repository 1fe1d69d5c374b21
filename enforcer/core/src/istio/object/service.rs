//! Services of Kubernetes, and the slices of their endpoints.

use std::net::IpAddr;

use super::{ExportTo, Meta, ServicePort};
use crate::model::{Host, Labels, Transport};

/// A Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Whose it is.
    pub meta: Meta,
    /// How clients reach it.
    pub kind: ServiceKind,
    /// Its ports; [`ServicePort::protocol`] from `appProtocol`, the port's name and number
    /// (`pkg/config/kube/conversion.go`).
    pub ports: Vec<ServicePort>,
    /// The annotation `networking.istio.io/exportTo`; empty stands for the mesh's default.
    pub export_to: Vec<ExportTo>,
    /// `spec.selector`: WorkloadEntries of its namespace with these labels are endpoints, too; empty selects nothing.
    pub selector: Labels,
}

/// How clients reach a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// At its cluster addresses, one of each family at most.
    ClusterIp(Vec<IpAddr>),
    /// At its endpoints.
    Headless,
    /// Under another name.
    ExternalName(Host),
}

/// A slice of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Whose it is; the label `kubernetes.io/service-name` names the Service.
    pub meta: Meta,
    /// The Service in the same namespace; empty, as no Service is called, if the slice names none.
    pub service: String,
    /// Addresses of endpoints, including unready ones: Istio sends to them if the Service requests it, and a connect
    /// that no server accepts is harmless.
    pub addresses: Vec<IpAddr>,
    /// The ports of each of these addresses; an endpoint serves no other port of the Service.
    pub ports: Vec<SlicePort>,
}

/// A port of the endpoints of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port; empty if that has none.
    pub name: String,
    /// Where the endpoints listen; 0 if the slice does not say. Istio has a listener for such an endpoint of a headless
    /// Service all the same, and nothing to dial behind others.
    pub number: u16,
    /// What carries it.
    pub transport: Transport,
}
