//! Objects that allow or leave out something that their author may not have intended.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use super::Registry;
use crate::{
    export::Export,
    grant::is_port_only,
    istio::{Kind, MeshConfig, ObjectId},
    model::{Host, Namespace},
    objects::Owner,
    offer::Offer,
    view::winners,
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
    /// A host resolves to an address that no name may stand for.
    Protected {
        /// The host.
        host: Host,
        /// The address.
        address: IpAddr,
    },
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
            Self::SeveralMeshes { used, unused } => write!(f, "{unused} is not used: {used} is"),
        }
    }
}

impl Registry {
    /// The warnings of the whole registry, in a stable order, each once.
    pub fn warnings(&mut self) -> BTreeSet<Warning> {
        self.refresh();
        let mut warnings = BTreeSet::new();
        for (host, state) in &self.states {
            for offer in &state.offers {
                if offer.ignored.is_none() && !offer.export.is_nobody() {
                    warn_of_ports(offer, &mut warnings);
                }
            }
            let is_public = |offer: &&Offer| offer.ignored.is_none() && offer.export == Export::Public;
            let offers: Vec<_> = state.offers.iter().filter(is_public).collect();
            // No workload is in this namespace: no document can have an empty one.
            let winner = winners(offers.clone(), &Namespace::new(""));
            let Some(winner) = winner.first() else {
                continue;
            };
            for loser in offers {
                if loser.namespace() != winner.namespace() {
                    warnings.insert(Warning::Displaced {
                        host: host.clone(),
                        winner: winner.owner.id(),
                        loser: loser.owner.id(),
                    });
                }
            }
        }
        self.warn_of_meshes(&mut warnings);
        for (host, whole) in self.protected.hosts() {
            let counts = self.objects.resolved.get(host);
            for address in whole {
                let is_declared = self.by_address.hosts(*address).any(|other| other == host);
                if !is_declared && !counts.is_some_and(|counts| counts.contains(address)) {
                    warnings.insert(Warning::Protected {
                        host: host.clone(),
                        address: *address,
                    });
                }
            }
        }
        warnings
    }

    fn warn_of_meshes(&self, warnings: &mut BTreeSet<Warning>) {
        let used = self.objects.mesh(&self.settings.revision);
        let id = |mesh: &MeshConfig| ObjectId {
            kind: Kind::MeshConfig,
            namespace: mesh.meta.namespace.clone(),
            name: mesh.meta.name.clone(),
        };
        for mesh in self.objects.meshes.values() {
            if !std::ptr::eq(&raw const **mesh, used) {
                warnings.insert(Warning::SeveralMeshes {
                    used: id(used),
                    unused: id(mesh),
                });
            }
        }
    }
}

fn warn_of_ports(offer: &Offer, warnings: &mut BTreeSet<Warning>) {
    let Owner::Entry(entry) = &offer.owner else {
        return;
    };
    if entry.ports.is_empty() {
        let entry = offer.owner.id();
        warnings.insert(Warning::NoPorts { entry });
    }
    for port in &entry.ports {
        if is_port_only(entry, port.protocol) {
            warnings.insert(Warning::PortOnly {
                entry: offer.owner.id(),
                port: port.number,
            });
        }
    }
}
