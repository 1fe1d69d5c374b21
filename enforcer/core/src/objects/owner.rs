//! The objects that offer hosts: Services and ServiceEntries.

use std::sync::Arc;

use super::Key;
use crate::istio::{ExportTo, Meta, Object, ObjectId, Service, ServiceEntry, ServicePort};

/// The object that offers a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Service(Arc<Service>),
    Entry(Arc<ServiceEntry>),
}

/// The key of an owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OwnerKey {
    Service(Key),
    Entry(Key),
}

impl Owner {
    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Service(object) => &object.meta,
            Self::Entry(object) => &object.meta,
        }
    }

    pub(crate) fn ports(&self) -> &[ServicePort] {
        match self {
            Self::Service(object) => &object.ports,
            Self::Entry(object) => &object.ports,
        }
    }

    pub(crate) fn export_to(&self) -> &[ExportTo] {
        match self {
            Self::Service(object) => &object.export_to,
            Self::Entry(object) => &object.export_to,
        }
    }

    pub(crate) fn is_service(&self) -> bool {
        matches!(self, Self::Service(_))
    }

    pub(crate) fn id(&self) -> ObjectId {
        match self {
            Self::Service(object) => Object::Service(object.clone()).id(),
            Self::Entry(object) => Object::ServiceEntry(object.clone()).id(),
        }
    }
}
