//! Kinds, and the keys of objects.

use std::fmt;

use super::{Meta, Object};
use crate::model::Namespace;

/// The kinds of [`super::Object`], by the names that users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`super::ServiceEntry`].
    ServiceEntry,
    /// [`super::WorkloadEntry`].
    WorkloadEntry,
    /// [`super::Sidecar`].
    Sidecar,
    /// [`super::VirtualService`].
    VirtualService,
    /// [`super::MeshConfig`].
    MeshConfig,
    /// [`super::Service`].
    Service,
    /// [`super::EndpointSlice`].
    EndpointSlice,
    /// [`super::Pod`].
    Pod,
    /// [`super::NamespaceObject`].
    Namespace,
    /// [`super::NodeObject`].
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

impl Object {
    /// Whose it is.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::ServiceEntry(object) => &object.meta,
            Self::WorkloadEntry(object) => &object.meta,
            Self::Sidecar(object) => &object.meta,
            Self::VirtualService(object) => &object.meta,
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
            Self::VirtualService(_) => Kind::VirtualService,
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
