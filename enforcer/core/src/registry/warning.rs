//! Objects that allow or leave out something that their author may not have intended.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use super::{Cause, Conflict};
use crate::{
    istio::{EgressHost, EgressNamespace, ObjectId},
    model::{Enforcement, Host, Namespace},
};

/// A warning about the registry as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// A port is allowed with any address, because the entry has no address and nothing else narrows it.
    PortOnly {
        /// The ServiceEntry.
        entry: ObjectId,
        /// The port that clients dial.
        port: u16,
    },
    /// An entry has no ports, and so allows nothing.
    NoPorts {
        /// The ServiceEntry.
        entry: ObjectId,
    },
    /// Several namespaces export one host publicly: for workloads of other namespaces one of them wins, and the
    /// others do not count.
    Displaced {
        /// The host.
        host: Host,
        /// The object that counts.
        winner: ObjectId,
        /// The object that does not.
        loser: ObjectId,
    },
    /// There are several MeshConfigs; one counts.
    SeveralMeshes {
        /// The one that counts.
        used: ObjectId,
        /// One that does not.
        unused: ObjectId,
    },
    /// An object sets ALLOW_ANY, against what the configuration says.
    AllowsAny {
        /// The MeshConfig or Sidecar.
        object: ObjectId,
    },
    /// A Sidecar that leaves something out applies to gateways, to which Istio applies none.
    TrimsGateways {
        /// The Sidecar.
        sidecar: ObjectId,
        /// Where the gateways are.
        namespace: Namespace,
    },
    /// The label of a Namespace that sets the mode has a value that is none.
    NotAMode {
        /// The Namespace.
        namespace: ObjectId,
        /// The value.
        value: String,
    },
    /// A host resolves to an address that no name may stand for.
    Protected {
        /// The host.
        host: Host,
        /// The address.
        address: IpAddr,
    },
    /// An object, or a host of it, comes to no rule.
    AllowsNothing {
        /// The object.
        object: ObjectId,
        /// The host; None if all of its hosts come to nothing, for the same causes.
        host: Option<Host>,
        /// Why its ports do, at least one.
        causes: BTreeSet<Cause>,
    },
    /// No namespace sees an entry.
    ExportedToNobody {
        /// The ServiceEntry.
        entry: ObjectId,
    },
    /// An entry's workload selector selects nothing.
    SelectsNothing {
        /// The ServiceEntry.
        entry: ObjectId,
    },
    /// An entry with static endpoints has none.
    NoEndpoints {
        /// The ServiceEntry.
        entry: ObjectId,
    },
    /// An entry declares an address at which its service is not known to be.
    Unreachable {
        /// The ServiceEntry.
        entry: ObjectId,
        /// The address.
        address: IpAddr,
    },
    /// A VirtualService routes a host that nobody has.
    RoutesUnregistered {
        /// The VirtualService.
        service: ObjectId,
        /// The host.
        host: Host,
        /// Where proxies send it, at least one.
        to: BTreeSet<Host>,
    },
    /// A VirtualService routes an entry's host elsewhere.
    Rerouted {
        /// The VirtualService.
        service: ObjectId,
        /// The host.
        host: Host,
        /// The ServiceEntry that has it.
        entry: ObjectId,
        /// Where proxies send it, at least one.
        to: BTreeSet<Host>,
    },
    /// A Sidecar imports a host that nobody has.
    ImportsNothing {
        /// The Sidecar.
        sidecar: ObjectId,
        /// What it imports.
        host: EgressHost,
    },
    /// Objects conflict with each other.
    Conflict(Conflict),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortOnly { entry, port } => write!(
                f,
                "{entry} allows port {port} of every address: give it addresses, or a resolution other than NONE"
            ),
            Self::NoPorts { entry } => write!(f, "{entry} has no ports and allows nothing"),
            Self::Displaced { host, winner, loser } => write!(
                f,
                "{loser} does not count outside its namespace: {winner} has the host {host}"
            ),
            Self::Protected { host, address } => write!(
                f,
                "{host} resolves to {address}, an address for which no name may stand: it counts only for an entry that \
                 declares it; see dns.learn.protected and dns.learn.protectCluster"
            ),
            Self::NotAMode { namespace, value } => write!(
                f,
                "the label {} of Namespace {} is {value:?}, which is no mode and counts as enforce: modes are enforce, audit \
                 and off",
                Enforcement::LABEL,
                namespace.name
            ),
            Self::SeveralMeshes { used, unused } => write!(f, "{unused} is not used: {used} is"),
            Self::AllowsNothing { object, host, causes } => {
                write!(f, "{object} allows nothing")?;
                if let Some(host) = host {
                    write!(f, " for {host}")?;
                }
                for (at, cause) in causes.iter().enumerate() {
                    f.write_str(if at == 0 { ": " } else { "; " })?;
                    write!(f, "{cause}")?;
                }
                Ok(())
            }
            Self::ExportedToNobody { entry } => {
                write!(
                    f,
                    "{entry} is exported to no namespace and allows nothing: see exportTo"
                )
            }
            Self::SelectsNothing { entry } => {
                write!(
                    f,
                    "the workloadSelector of {entry} selects no Pod and no WorkloadEntry of its namespace"
                )
            }
            Self::NoEndpoints { entry } => write!(
                f,
                "{entry} has the resolution STATIC and no endpoints: nothing is reached by it but what its hosts \
                 resolve to"
            ),
            Self::Unreachable { entry, address } => write!(
                f,
                "{entry} declares the address {address}, at which its service is not known to be: connections to it are \
                 allowed, but nothing answers there unless a proxy translates it"
            ),
            Self::RoutesUnregistered { service, host, to } => write!(
                f,
                "{service} routes {host}, which no Service and no ServiceEntry has, to {}: a connection to {host} is \
                 refused; register it, or dial the host to which it is routed",
                listed(to)
            ),
            Self::Rerouted {
                service,
                host,
                entry,
                to,
            } => write!(
                f,
                "{service} sends what is for {host} of {entry} to {}: without a proxy, which alone follows it, {host} is \
                 dialled directly, and that is what {entry} allows",
                listed(to)
            ),
            Self::AllowsAny { object } => write!(
                f,
                "{object} sets ALLOW_ANY, which goes before the enforcer's configuration: the workloads to which it applies \
                 reach everything"
            ),
            Self::TrimsGateways { sidecar, namespace } => write!(
                f,
                "{sidecar} applies to the gateways in {namespace} here, and not in Istio: what it leaves out is refused to \
                 them; a Sidecar of {namespace} with the egress host */* mends that"
            ),
            Self::ImportsNothing { sidecar, host } => {
                write!(
                    f,
                    "{sidecar} imports {}, which nobody has: nothing is allowed by it",
                    imported(host)
                )
            }
            Self::Conflict(conflict) => write!(f, "{conflict}"),
        }
    }
}

fn listed(hosts: &BTreeSet<Host>) -> String {
    let hosts: Vec<_> = hosts.iter().map(Host::as_str).collect();
    hosts.join(", ")
}

/// `namespace/host`, as it is written in a Sidecar.
fn imported(host: &EgressHost) -> String {
    let namespace = match &host.namespace {
        EgressNamespace::Any => "*",
        EgressNamespace::Own => ".",
        EgressNamespace::Named(name) => name.as_str(),
    };
    format!("{namespace}/{}", host.host)
}

impl Warning {
    /// The object to which its author has to look.
    pub fn object(&self) -> Option<&ObjectId> {
        match self {
            Self::PortOnly { entry, .. }
            | Self::NoPorts { entry }
            | Self::ExportedToNobody { entry }
            | Self::SelectsNothing { entry }
            | Self::NoEndpoints { entry }
            | Self::Unreachable { entry, .. } => Some(entry),
            Self::Displaced { loser: object, .. }
            | Self::SeveralMeshes { unused: object, .. }
            | Self::AllowsNothing { object, .. }
            | Self::RoutesUnregistered { service: object, .. }
            | Self::Rerouted { service: object, .. }
            | Self::TrimsGateways { sidecar: object, .. }
            | Self::AllowsAny { object }
            | Self::NotAMode {
                namespace: object, ..
            }
            | Self::ImportsNothing { sidecar: object, .. } => Some(object),
            Self::Conflict(conflict) => Some(conflict.object()),
            Self::Protected { .. } => None,
        }
    }

    /// The other objects that it names.
    pub fn others(&self) -> Vec<&ObjectId> {
        match self {
            Self::Displaced { winner: other, .. }
            | Self::SeveralMeshes { used: other, .. }
            | Self::Rerouted { entry: other, .. } => vec![other],
            Self::AllowsNothing { causes, .. } => {
                let causes = causes.iter();
                let displaced = causes.filter_map(|cause| match cause {
                    Cause::Displaced(by) => Some(by),
                    _ => None,
                });
                displaced.collect()
            }
            Self::Conflict(conflict) => conflict.others(),
            _ => Vec::new(),
        }
    }

    /// Whether another object that comes, or is read from elsewhere, ends it.
    pub fn depends_on_others(&self) -> bool {
        match self {
            Self::ImportsNothing { .. } | Self::RoutesUnregistered { .. } => true,
            Self::AllowsNothing { causes, .. } => causes.iter().any(|cause| matches!(cause, Cause::Alias(_))),
            Self::Conflict(conflict) => conflict.depends_on_others(),
            _ => false,
        }
    }

    /// Whether [`Self::object`], or a part of it, is not in force for whom it is meant, whatever is applied to the
    /// kernel.
    pub fn is_bar(&self) -> bool {
        match self {
            Self::NoPorts { .. }
            | Self::Displaced { .. }
            | Self::SeveralMeshes { .. }
            | Self::AllowsNothing { .. }
            | Self::SelectsNothing { .. }
            | Self::ExportedToNobody { .. } => true,
            Self::Conflict(conflict) => conflict.is_bar(),
            Self::PortOnly { .. }
            | Self::AllowsAny { .. }
            | Self::TrimsGateways { .. }
            | Self::Protected { .. }
            | Self::NoEndpoints { .. }
            | Self::Unreachable { .. }
            | Self::RoutesUnregistered { .. }
            | Self::Rerouted { .. }
            | Self::NotAMode { .. }
            | Self::ImportsNothing { .. } => false,
        }
    }

    /// Whether it ends by itself, as pods, endpoints and answers come and go.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::AllowsNothing { causes, .. } => causes.iter().any(Cause::is_passing),
            Self::SelectsNothing { .. } | Self::Unreachable { .. } | Self::TrimsGateways { .. } => true,
            Self::Conflict(conflict) => conflict.is_passing(),
            _ => false,
        }
    }
}
