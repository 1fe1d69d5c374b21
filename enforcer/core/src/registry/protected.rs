//! Addresses that no name may stand for: those of the settings, and the cluster's own.
//!
//! A resolver's answer for a host of the registry is the word of whoever has the host's zone. Such an address counts
//! only if an object declares it. A name below the cluster's own domain may stand for the cluster's addresses: the
//! cluster itself answers for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{istio::ServiceKind, model::Host, objects::Objects, settings::Settings};

/// What is protected now, and which answers lack something for it.
#[derive(Debug, Default)]
pub(super) struct Protected {
    always: Networks,
    cluster: Networks,
    /// The whole answer for each host of which an address does not count.
    whole: BTreeMap<Host, BTreeSet<IpAddr>>,
}

impl Protected {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            always: Networks::new(settings.protected.clone()),
            ..Self::default()
        }
    }

    /// The cluster's networks.
    pub(super) fn cluster(&self) -> Arc<BTreeSet<IpNet>> {
        Arc::clone(&self.cluster.all)
    }

    /// Works out what the cluster's networks are; returns whether that has changed.
    pub(super) fn look(&mut self, objects: &Objects) -> bool {
        let now = cluster(objects);
        let differs = now != *self.cluster.all;
        if differs {
            self.cluster = Networks::new(now);
        }
        differs
    }

    /// The part of an answer that counts.
    pub(super) fn filter(
        &mut self,
        host: &Host,
        answer: BTreeSet<IpAddr>,
        settings: &Settings,
    ) -> BTreeSet<IpAddr> {
        let covers_cluster = settings.protects_cluster && !is_of_cluster(host, settings);
        let is_kept_out = |address: &IpAddr| {
            self.always.contain(*address) || covers_cluster && self.cluster.contain(*address)
        };
        let counts: BTreeSet<_> = answer.iter().copied().filter(|it| !is_kept_out(it)).collect();
        if counts == answer {
            self.whole.remove(host);
        } else {
            self.whole.insert(host.clone(), answer);
        }
        counts
    }

    /// Whether an address is kept out of what workloads learn, whatever the name.
    pub(super) fn keep_out(&self, address: IpAddr, settings: &Settings) -> bool {
        self.always.contain(address) || settings.protects_cluster && self.cluster.contain(address)
    }

    /// The whole answer for a host, if a part of it does not count.
    pub(super) fn whole(&self, host: &Host) -> Option<&BTreeSet<IpAddr>> {
        self.whole.get(host)
    }

    /// Every host with such an answer.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&Host, &BTreeSet<IpAddr>)> {
        self.whole.iter()
    }
}

/// Networks by the lengths of their prefixes, so that a search costs a step for each length.
#[derive(Debug, Default)]
struct Networks {
    all: Arc<BTreeSet<IpNet>>,
    lengths: BTreeSet<u8>,
}

impl Networks {
    fn new(all: BTreeSet<IpNet>) -> Self {
        Self {
            lengths: all.iter().map(IpNet::prefix_len).collect(),
            all: Arc::new(all),
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.lengths.iter().any(|length| {
            let network = IpNet::new(address, *length);
            network.is_ok_and(|network| self.all.contains(&network.trunc()))
        })
    }
}

/// The pod networks of the nodes, and each address of a node and of a Service as a network of its own.
fn cluster(objects: &Objects) -> BTreeSet<IpNet> {
    let nodes = objects.nodes.values().flat_map(|node| {
        let addresses = node.addresses.iter().copied().map(IpNet::from);
        node.pods.iter().copied().chain(addresses)
    });
    let services = objects.services.values().flat_map(|service| match &service.kind {
        ServiceKind::ClusterIp(addresses) => addresses.as_slice(),
        ServiceKind::Headless | ServiceKind::ExternalName(_) => &[],
    });
    nodes.chain(services.copied().map(IpNet::from)).collect()
}

fn is_of_cluster(host: &Host, settings: &Settings) -> bool {
    let above = host.as_str().strip_suffix(&settings.cluster_domain);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}
