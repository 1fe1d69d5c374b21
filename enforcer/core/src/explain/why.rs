//! The reasons, as values and as text.

use std::fmt;

use crate::{
    export::Ignored,
    grant::Source,
    istio::ObjectId,
    model::{Host, Namespace, Protocol, Transport},
};

/// What decided, or the nearest miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is the workload's own network namespace.
    Loopback,
    /// The configuration allows all UDP.
    AllUdp,
    /// It is a trusted resolver.
    Resolver,
    /// The workload is not enforced.
    Off,
    /// It is built in, under this name.
    BuiltIn(&'static str),
    /// It is an address of the workload itself.
    Own,
    /// A port of an object allows it.
    Allowed {
        /// The object.
        object: ObjectId,
        /// The name of its port.
        port: String,
        /// Where the address comes from.
        source: Source,
    },
    /// A port of an object allows it at whatever address a trusted resolver gives the workload for the name.
    ToBeGiven {
        /// The object.
        object: ObjectId,
        /// The name of its port.
        port: String,
        /// The host of its rule: the name, or a wildcard.
        host: Host,
        /// The name.
        name: Host,
    },
    /// A port of an object allows it at whatever address the enforcer resolves the name to.
    ToBeResolved {
        /// The object.
        object: ObjectId,
        /// The name of its port.
        port: String,
        /// The name.
        name: Host,
    },
    /// The pod's proxy dials it for a port of an object.
    Behind {
        /// The object.
        object: ObjectId,
    },
    /// The mesh's configuration tells every proxy to dial it.
    Infrastructure {
        /// The host that it names; None if it names the address.
        host: Option<Host>,
    },
    /// The cgroup has no workload.
    UnknownWorkload,
    /// Nothing that is registered is related to the address.
    Unregistered,
    /// Nothing that is registered covers the name.
    UnregisteredName {
        /// The name.
        name: Host,
    },
    /// The object is not exported to the workload's namespace.
    NotExported {
        /// The object.
        object: ObjectId,
        /// The workload's namespace.
        to: Namespace,
    },
    /// The object is ignored.
    Ignored {
        /// The object.
        object: ObjectId,
        /// Why.
        ignored: Ignored,
    },
    /// The workload's Sidecar does not import the host, or not this port of it.
    NotImported {
        /// The Sidecar.
        sidecar: ObjectId,
        /// The object that offers the host.
        object: ObjectId,
        /// The host.
        host: Host,
        /// The port that is left out, if other ports of the object are imported.
        port: Option<u16>,
    },
    /// Another object wins the host for this workload: only one namespace's objects count.
    Displaced {
        /// The object that would allow it.
        object: ObjectId,
        /// The host.
        host: Host,
        /// The object that wins the host.
        by: ObjectId,
    },
    /// The host is known, but not on this port.
    PortNotDeclared {
        /// The object.
        object: ObjectId,
        /// The host.
        host: Host,
        /// The port dialled.
        port: u16,
        /// The declared port that is nearest, if there is one of the same transport.
        nearest: Option<u16>,
    },
    /// The host and the port are known, but not with this transport.
    OtherTransport {
        /// The object.
        object: ObjectId,
        /// The port dialled.
        port: u16,
        /// What was dialled.
        transport: Transport,
    },
    /// The configuration allows UDP only to the trusted resolvers.
    UdpNotAllowed {
        /// The object that declares the port.
        object: ObjectId,
    },
    /// The host and the port are known, but Istio's proxy reserves this port and it is HTTP.
    Reserved {
        /// The object.
        object: ObjectId,
        /// The port dialled.
        port: u16,
    },
    /// The host and the port are known, but nothing is behind the port: the object has no endpoint, or another object
    /// of the host comes first and cannot be merged with it.
    NothingBehind {
        /// The object.
        object: ObjectId,
        /// The port dialled.
        port: u16,
    },
    /// It is an endpoint of an object that clients reach at other addresses, and no proxy of the workload dials it.
    Endpoint {
        /// The object.
        object: ObjectId,
        /// The host.
        host: Host,
    },
    /// The host and the port are known, but the object has other addresses.
    OtherAddress {
        /// The object.
        object: ObjectId,
        /// The host.
        host: Host,
    },
    /// The object allows the host, but only at addresses that it declares, whatever the name resolves to.
    OnlyDeclared {
        /// The object.
        object: ObjectId,
        /// The host.
        host: Host,
    },
    /// The object has a wildcard over the name, and no addresses are learned.
    NotLearned {
        /// The object.
        object: ObjectId,
        /// The wildcard.
        host: Host,
    },
    /// The registry allows it by this, but the maps do not hold the rule.
    NotHeld(Box<Self>),
    /// The registry does not allow it for this reason, but the maps do, until they are changed.
    StillHeld(Box<Self>),
    /// The maps do not have the workload.
    WorkloadNotHeld,
}

impl Why {
    /// The object that allows it, or that is the nearest miss.
    pub fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::Loopback
            | Self::AllUdp
            | Self::Resolver
            | Self::Off
            | Self::BuiltIn(_)
            | Self::Own
            | Self::Infrastructure { .. }
            | Self::UnknownWorkload
            | Self::WorkloadNotHeld
            | Self::Unregistered
            | Self::UnregisteredName { .. } => None,
            Self::NotHeld(why) | Self::StillHeld(why) => why.object(),
            Self::Allowed { object, .. }
            | Self::ToBeGiven { object, .. }
            | Self::ToBeResolved { object, .. }
            | Self::Behind { object }
            | Self::Endpoint { object, .. }
            | Self::NotExported { object, .. }
            | Self::Ignored { object, .. }
            | Self::NotImported { object, .. }
            | Self::Displaced { object, .. }
            | Self::PortNotDeclared { object, .. }
            | Self::OtherTransport { object, .. }
            | Self::UdpNotAllowed { object }
            | Self::Reserved { object, .. }
            | Self::NothingBehind { object, .. }
            | Self::OtherAddress { object, .. }
            | Self::OnlyDeclared { object, .. }
            | Self::NotLearned { object, .. } => Some(object),
        }
    }

    /// Whether it is a reason for allowing.
    pub fn is_permission(&self) -> bool {
        matches!(
            self,
            Self::Loopback
                | Self::AllUdp
                | Self::Resolver
                | Self::Off
                | Self::BuiltIn(_)
                | Self::Own
                | Self::StillHeld(_)
                | Self::Allowed { .. }
                | Self::ToBeGiven { .. }
                | Self::ToBeResolved { .. }
                | Self::Behind { .. }
                | Self::Infrastructure { .. }
        )
    }
}

/// Without `allowed by` or `denied:`.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("the workload's own network namespace (loopback)"),
            Self::AllUdp => f.write_str("the configuration (udp: allow)"),
            Self::Resolver => f.write_str("the configuration (trusted resolver)"),
            Self::Off => f.write_str("its mode (off: it is not enforced)"),
            Self::BuiltIn(name) => write!(f, "the configuration (built in: {name})"),
            Self::Own => f.write_str("the workload's own address"),
            Self::Allowed { object, port, source } => write!(f, "{object} port {port} ({source})"),
            Self::ToBeGiven {
                object,
                port,
                host,
                name,
            } => {
                write!(f, "{object} port {port} (")?;
                if host != name {
                    write!(f, "{host}, ")?;
                }
                write!(f, "at any address that a trusted resolver gives it for {name})")
            }
            Self::ToBeResolved { object, port, name } => {
                write!(
                    f,
                    "{object} port {port} (at any address that the enforcer resolves {name} to)"
                )
            }
            Self::Behind { object } => write!(f, "an endpoint of {object}, which the pod's proxy dials"),
            Self::Infrastructure { host: Some(host) } => {
                write!(
                    f,
                    "the mesh's configuration ({host}, which the pod's proxy dials)"
                )
            }
            Self::Infrastructure { host: None } => {
                f.write_str("the mesh's configuration (an address that the pod's proxy dials)")
            }
            Self::UnknownWorkload => f.write_str("the cgroup belongs to no known workload"),
            Self::Unregistered => f.write_str("no ServiceEntry or Service has this address"),
            Self::UnregisteredName { name } => write!(f, "no ServiceEntry or Service has the host {name}"),
            Self::NotExported { object, to } => write!(f, "{object} is not exported to {to}"),
            Self::Ignored { object, ignored } => write!(f, "{object} is ignored: {ignored}"),
            Self::NotImported {
                sidecar,
                object,
                host,
                port,
            } => {
                write!(f, "{sidecar} does not import it")?;
                match port {
                    Some(port) => write!(f, " on port {port} ({host} of {object})"),
                    None => write!(f, " ({host} of {object})"),
                }
            }
            Self::Displaced { object, host, by } => {
                write!(f, "{object} does not count here: {by} has the host {host}")
            }
            Self::PortNotDeclared {
                object,
                host,
                port,
                nearest,
            } => {
                write!(f, "host known, port {port} not declared")?;
                match nearest {
                    Some(nearest) => write!(f, ", nearest {nearest}")?,
                    None => f.write_str(", none is")?,
                }
                write!(f, " ({object}, {host})")
            }
            Self::OtherTransport {
                object,
                port,
                transport,
            } => {
                let dialled = match transport {
                    Transport::Tcp => "TCP",
                    Transport::Udp => "UDP",
                };
                write!(f, "{object} declares port {port}, but not for {dialled}")
            }
            Self::UdpNotAllowed { object } => {
                write!(
                    f,
                    "{object} declares it, but the configuration refuses UDP (udp: dns-only)"
                )
            }
            Self::Reserved { object, port } => {
                write!(
                    f,
                    "{object} declares port {port} for HTTP, which Istio's proxy keeps to itself"
                )
            }
            Self::NothingBehind { object, port } => {
                write!(
                    f,
                    "{object} declares port {port}, but nothing is behind it: no endpoint, or another entry has the host"
                )
            }
            Self::Endpoint { object, host } => {
                write!(f, "it is an endpoint of {object}, which is reached as {host}")
            }
            Self::OtherAddress { object, host } => {
                write!(f, "{object} has the host {host}, but not at this address")
            }
            Self::OnlyDeclared { object, host } => {
                write!(f, "{object} allows {host} only at the addresses that it declares")
            }
            Self::NotLearned { object, host } => write!(
                f,
                "{object} has {host}, but a wildcard allows nothing where no addresses are learned (dns.learn.enabled)"
            ),
            Self::NotHeld(why) => write!(
                f,
                "the kernel's maps do not hold the rule of {why}: see capacities"
            ),
            Self::StillHeld(why) => write!(f, "the kernel's maps, which are about to change ({why})"),
            Self::WorkloadNotHeld => {
                f.write_str("the kernel's maps do not have the workload: see capacities")
            }
        }
    }
}

/// A port of an object that allows a destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Matched {
    /// The object.
    pub object: ObjectId,
    /// The host with the port.
    pub host: Host,
    /// The port that clients dial.
    pub port: u16,
    /// Its name.
    pub port_name: String,
    /// Its protocol, as the workload's Sidecar has it.
    pub protocol: Protocol,
}
