//! Objects that conflict with each other, in words.
//!
//! `istioctl analyze` (`pkg/config/analysis` of istio 86c9f01) looks at a registry as a whole, too. Of its messages, these
//! are about what a workload may reach:
//!
//! | message | here |
//! |---|---|
//! | IST0177, one host and port with different protocols in ServiceEntries that a namespace sees | [`Conflict::Protocols`] in one namespace; of several namespaces one wins the host: [`Conflict::Displaced`]. UDP beside TCP is no conflict here |
//! | IST0110, several Sidecars select one pod | [`Conflict::SidecarsOverlap`], and [`Conflict::SidecarUnused`] where no pod could be the other's |
//! | IST0111, several Sidecars of a namespace without a selector | [`Conflict::SidecarUnused`] |
//! | IST0101, a Sidecar's selector that no pod has | nothing: pods of other nodes, and machines without pods, are not known well enough |
//! | IST0134, TCP without addresses | a warning of the document (W3), and `Warning::PortOnly` |
//! | IST0106, IST0133, what the schema says | errors and warnings of the document |
//!
//! It has no message for hosts that a Sidecar hides, for namespaces that do not exist, for entries behind a Service and for
//! entries that do not merge; these are said here nevertheless. Its messages on VirtualServices, DestinationRules, Gateways,
//! injection and others are about what the enforcer does not look at.

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use crate::{
    istio::ObjectId,
    model::{Host, Namespace},
};

/// How many hosts, ports and namespaces a warning names.
const NAMED: usize = 3;

/// Two objects, each of which is right by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conflict {
    /// In some namespaces that see both, another object has the host, and neither is of that namespace.
    Displaced {
        /// The object that does not count there.
        loser: ObjectId,
        /// The one that does.
        winner: ObjectId,
        /// The hosts that both have.
        hosts: BTreeSet<Host>,
        /// Where, at least one.
        namespaces: BTreeSet<Namespace>,
    },
    /// Two entries of a namespace give one port of a host different protocols.
    Protocols {
        /// The younger.
        entry: ObjectId,
        /// The older.
        other: ObjectId,
        /// The hosts that both have.
        hosts: BTreeSet<Host>,
        /// The ports.
        ports: BTreeSet<u16>,
    },
    /// Two entries of a namespace have one host, and differ in what must be the same for them to count together.
    Unmerged {
        /// The younger.
        entry: ObjectId,
        /// The older.
        other: ObjectId,
        /// The hosts that both have.
        hosts: BTreeSet<Host>,
        /// The fields.
        differs: BTreeSet<&'static str>,
        /// The younger's ports that lead nowhere for that; none if it is not known which is older.
        ports: BTreeSet<u16>,
    },
    /// Two entries declare one address and port for different hosts.
    SharedAddress {
        /// The younger.
        entry: ObjectId,
        /// The older.
        other: ObjectId,
        /// The first of what both declare.
        at: SocketAddr,
    },
    /// Sidecars leave out hosts of an entry, so that nobody may reach them.
    HiddenFromAll {
        /// The entry.
        entry: ObjectId,
        /// Its hosts that nobody sees.
        hosts: BTreeSet<Host>,
        /// Sidecars that would have to import them, at least one.
        by: BTreeSet<ObjectId>,
    },
    /// Sidecars leave out hosts of an entry in a namespace to which it is exported by name.
    HiddenIn {
        /// The entry.
        entry: ObjectId,
        /// Its hosts that nobody sees there.
        hosts: BTreeSet<Host>,
        /// Where.
        namespace: Namespace,
        /// The Sidecars that do, at least one.
        by: BTreeSet<ObjectId>,
    },
    /// An object is exported to namespaces that do not exist.
    ExportedToNowhere {
        /// The ServiceEntry or Service.
        object: ObjectId,
        /// The namespaces.
        namespaces: BTreeSet<Namespace>,
    },
    /// A Sidecar that applies to no workload there could be.
    SidecarUnused {
        /// It.
        unused: ObjectId,
        /// The one that applies in its place.
        used: ObjectId,
    },
    /// Two Sidecars select one workload.
    SidecarsOverlap {
        /// The one that does not apply to it.
        unused: ObjectId,
        /// The one that does.
        used: ObjectId,
        /// What both select, of which there is a workload: `app=web,version=1`.
        labels: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Displaced {
                loser,
                winner,
                hosts,
                namespaces,
            } => write!(
                f,
                "{loser} does not count in {}: {winner} has {} there; keep one of the two, or export them to different \
                 namespaces",
                listed(namespaces),
                listed(hosts)
            ),
            Self::Protocols {
                entry,
                other,
                hosts,
                ports,
            } => write!(
                f,
                "{entry} and {other} have {}, and give port {} different protocols: a proxy takes one of them; give both \
                 the same, or write one entry",
                listed(hosts),
                listed(ports)
            ),
            Self::Unmerged {
                entry,
                other,
                hosts,
                differs,
                ports,
            } => {
                write!(
                    f,
                    "{entry} and {other} have {} and differ in {}, so that they do not count together",
                    listed(hosts),
                    listed(differs)
                )?;
                if ports.is_empty() {
                    f.write_str(
                        ": what the older one says holds, and ports that only the other one has lead nowhere",
                    )?;
                } else {
                    write!(
                        f,
                        ": {other} is older, and port {} of {entry} leads nowhere",
                        listed(ports)
                    )?;
                }
                f.write_str("; write one entry, or make them the same in this")
            }
            Self::SharedAddress { entry, other, at } => write!(
                f,
                "{entry} declares {at}, as {other} does for another host: whoever may reach one host there reaches the \
                 other; give them addresses or ports of their own, or write one entry"
            ),
            Self::HiddenFromAll { entry, hosts, by } => write!(
                f,
                "nobody may reach {} of {entry}, because {} import{} nothing of it: add {}/{} to the egress hosts of a \
                 Sidecar, or remove the entry",
                listed(hosts),
                listed(by),
                if by.len() == 1 { "s" } else { "" },
                entry.namespace,
                first(hosts)
            ),
            Self::HiddenIn {
                entry,
                hosts,
                namespace,
                by,
            } => write!(
                f,
                "nobody in {namespace} may reach {} of {entry}, which is exported to it, because {} import{} nothing of \
                 it: add {}/{} to the egress hosts there, or take {namespace} out of exportTo",
                listed(hosts),
                listed(by),
                if by.len() == 1 { "s" } else { "" },
                entry.namespace,
                first(hosts)
            ),
            Self::ExportedToNowhere { object, namespaces } => write!(
                f,
                "{object} is exported to {}, and no such namespace is known: correct exportTo, or make the namespace",
                listed(namespaces)
            ),
            Self::SidecarUnused { unused, used } => write!(
                f,
                "{unused} applies to no workload: {used} goes before it wherever it could apply; put both into one, or give \
                 them workloadSelectors of their own"
            ),
            Self::SidecarsOverlap { unused, used, labels } => write!(
                f,
                "{unused} does not apply to workloads with {labels}, which it selects: {used} selects them too and goes \
                 before; have each workload selected by one Sidecar"
            ),
        }
    }
}

impl Conflict {
    /// The object to which its author has to look first.
    pub fn object(&self) -> &ObjectId {
        match self {
            Self::Displaced { loser: object, .. }
            | Self::Protocols { entry: object, .. }
            | Self::Unmerged { entry: object, .. }
            | Self::SharedAddress { entry: object, .. }
            | Self::HiddenFromAll { entry: object, .. }
            | Self::HiddenIn { entry: object, .. }
            | Self::ExportedToNowhere { object, .. }
            | Self::SidecarUnused { unused: object, .. }
            | Self::SidecarsOverlap { unused: object, .. } => object,
        }
    }

    /// The others.
    pub fn others(&self) -> Vec<&ObjectId> {
        match self {
            Self::Displaced { winner: other, .. }
            | Self::Protocols { other, .. }
            | Self::Unmerged { other, .. }
            | Self::SharedAddress { other, .. }
            | Self::SidecarUnused { used: other, .. }
            | Self::SidecarsOverlap { used: other, .. } => vec![other],
            Self::HiddenFromAll { by, .. } | Self::HiddenIn { by, .. } => by.iter().take(NAMED).collect(),
            Self::ExportedToNowhere { .. } => Vec::new(),
        }
    }

    /// Whether a part of its object is not in force for it.
    pub(super) fn is_bar(&self) -> bool {
        match self {
            Self::Displaced { .. }
            | Self::Unmerged { .. }
            | Self::HiddenFromAll { .. }
            | Self::HiddenIn { .. }
            | Self::SidecarUnused { .. }
            | Self::SidecarsOverlap { .. } => true,
            // Both count; a namespace may be made later.
            Self::Protocols { .. } | Self::SharedAddress { .. } | Self::ExportedToNowhere { .. } => false,
        }
    }

    /// Whether another object that comes, or is read from elsewhere, ends it.
    pub(super) fn depends_on_others(&self) -> bool {
        matches!(
            self,
            Self::HiddenFromAll { .. } | Self::HiddenIn { .. } | Self::ExportedToNowhere { .. }
        )
    }

    /// Whether it ends by itself, as pods come and go.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::SidecarsOverlap { .. })
    }
}

/// `a, b, c and 2 more`.
fn listed<T: fmt::Display>(all: &BTreeSet<T>) -> String {
    let named: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
    let named = named.join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn first(hosts: &BTreeSet<Host>) -> &str {
    hosts.first().map_or("*", Host::as_str)
}
