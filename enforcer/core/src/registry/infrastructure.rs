//! Services that the mesh's configuration tells every proxy to dial: istiod, telemetry, authorization.
//!
//! A workload with a proxy reaches them whatever it sees of the registry: as a client, and what stands behind them. They
//! are the operator's choice. So a host is what its Service says, or an entry of the root namespace: anybody may write an
//! entry for any host elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    grant::{Facts, PortGrants, at_name},
    istio::MeshConfig,
    model::{Host, Namespace, Transport},
    offer::{HostState, Offer},
    rule::{Rule, To},
    settings::Settings,
    view::winners,
};

/// The port at which istiod serves proxies, unless the mesh says otherwise (`discoveryAddress`).
const DISCOVERY: u16 = 15012;

/// What is dialled, by host, and the rules for addresses that are dialled as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Infrastructure {
    root: Namespace,
    hosts: BTreeMap<Host, Ports>,
    rules: Vec<Rule>,
}

/// The ports of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ports {
    ports: BTreeSet<(Transport, u16)>,
    /// Whether its name is resolved if nothing in the registry has it: not those of the cluster's services, whose
    /// objects are known before their names.
    is_resolved: bool,
}

impl Infrastructure {
    /// What `mesh` names.
    pub(crate) fn new(mesh: &MeshConfig, settings: &Settings) -> Self {
        let mut all = Self {
            root: mesh.root_namespace.clone(),
            hosts: BTreeMap::new(),
            rules: Vec::new(),
        };
        let domain = &settings.cluster_domain;
        for dialled in &mesh.dialled {
            let port = (dialled.transport, dialled.port);
            if let Ok(address) = dialled.host.parse::<IpAddr>() {
                all.rules.push(Rule {
                    transport: port.0,
                    port: port.1,
                    to: To::Address(address.to_canonical()),
                });
                continue;
            }
            let labels = dialled.host.split('.').count();
            let service = match labels {
                1 => Some(format!("{}.{}.svc.{domain}", dialled.host, mesh.root_namespace)),
                2 => Some(format!("{}.svc.{domain}", dialled.host)),
                _ if dialled.host.ends_with(".svc") => Some(format!("{}.{domain}", dialled.host)),
                _ => None,
            };
            let of_cluster = format!(".svc.{domain}");
            let is_resolved = service.is_none() && !dialled.host.ends_with(&of_cluster);
            all.add(&dialled.host, port, is_resolved);
            if let Some(service) = service {
                all.add(&service, port, false);
            }
        }
        let root = &mesh.root_namespace;
        let istiod = match settings.revision.as_str() {
            "" | "default" => "istiod".to_owned(),
            revision => format!("istiod-{revision}"),
        };
        for name in [istiod.as_str(), "istiod"] {
            let host = format!("{name}.{root}.svc.{domain}");
            all.add(&host, (Transport::Tcp, DISCOVERY), false);
        }
        all
    }

    fn add(&mut self, host: &str, port: (Transport, u16), is_resolved: bool) {
        let ports = self.hosts.entry(Host::new(host)).or_default();
        ports.ports.insert(port);
        ports.is_resolved |= is_resolved;
    }

    /// Rules for addresses.
    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Every host that is dialled.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.keys()
    }

    /// Whether `host` is one of them.
    pub(super) fn has(&self, host: &Host) -> bool {
        self.hosts.contains_key(host)
    }

    /// What `host` grants to every workload with a proxy.
    pub(crate) fn grants(&self, host: &Host, state: &HostState, facts: &Facts<'_>) -> Vec<PortGrants> {
        let Some(dialled) = self.hosts.get(host) else {
            return Vec::new();
        };
        let is_meant = |offer: &&Offer| {
            offer.owner.is_service() || (offer.ignored.is_none() && *offer.namespace() == self.root)
        };
        let offers = winners(state.offers.iter().filter(is_meant).collect(), &self.root);
        let mut grants = Vec::new();
        for port in &dialled.ports {
            let imports = offers.iter().flat_map(|offer| offer.imports());
            let mut of_port = imports
                .filter(|import| (import.protocol.transport(), import.number) == *port)
                .peekable();
            if of_port.peek().is_none() && dialled.is_resolved {
                grants.push(at_name(host, *port, facts));
            }
            let imports: Vec<_> = of_port.collect();
            for import in &imports {
                grants.extend([import.grants(facts).into_owned(), import.behind(facts)]);
            }
            let pooled = state.pooled(&imports, facts).into_iter();
            grants.extend(
                pooled
                    .filter(|(import, _)| is_meant(&import.offer))
                    .map(|(_, grants)| grants),
            );
        }
        grants
    }
}
