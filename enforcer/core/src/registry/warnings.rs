//! All warnings of the registry that hold.

use std::collections::BTreeSet;

use super::{
    Registry, Warning, colliding, conflicting, exported, hidden, ineffective, overruled, rerouted,
    suspicious, views::Views,
};
use crate::{
    export::Export,
    grant::is_port_only,
    istio::{Kind, MeshConfig, ObjectId},
    model::Namespace,
    objects::Owner,
    offer::Offer,
    view::winners,
};

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
        ineffective::warn(self, &mut warnings);
        suspicious::warn_of_entries(self, &mut warnings);
        suspicious::warn_of_imports(self, &mut warnings);
        suspicious::warn_of_gateways(self, &mut warnings);
        suspicious::warn_of_allow_any(self, &mut warnings);
        suspicious::warn_of_modes(self, &mut warnings);
        rerouted::warn(self, &mut warnings);
        conflicting::warn(self, &mut warnings);
        colliding::warn(self, &mut warnings);
        exported::warn_of_winners(self, &mut warnings);
        exported::warn_of_nowhere(self, &mut warnings);
        if !self.objects.sidecars.is_empty() {
            let views = Views::new(self);
            hidden::warn(self, &views, &mut warnings);
            overruled::warn(self, &views, &mut warnings);
        }
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
