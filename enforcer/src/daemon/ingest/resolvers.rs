//! Whose answers count, and who may be asked.

use std::{collections::BTreeSet, net::SocketAddr};

use enforcer_core::{registry::Registry, settings::Allowance};

use crate::config::Config;

/// Where a cache on the node listens (NodeLocal DNSCache).
const NODE_LOCAL: [u8; 4] = [169, 254, 20, 10];

/// Which servers are trusted, as the configuration has it.
pub(super) struct Resolvers {
    /// Empty: those in use and the cluster's.
    configured: BTreeSet<SocketAddr>,
    in_use: BTreeSet<SocketAddr>,
    /// The node's, which pods may ask that are given these.
    of_node: BTreeSet<SocketAddr>,
    /// Whether every workload may ask the others.
    may_be_asked: bool,
    /// The cluster's own, if there is a cluster.
    cluster: Option<Cluster>,
}

struct Cluster {
    dns: Allowance,
    may_be_asked: bool,
}

impl Resolvers {
    pub(super) fn new(config: &Config, in_use: &[SocketAddr]) -> Self {
        let cluster = config.pods.as_ref().map(|pods| {
            let mut allowances = pods.built_in.allowances.iter();
            let built_in = allowances.find(|allowance| allowance.name == Allowance::CLUSTER_DNS);
            let may_be_asked = built_in.is_some();
            let mut dns = built_in
                .cloned()
                .unwrap_or_else(|| Allowance::cluster_dns(BTreeSet::new()));
            dns.addresses.insert(NODE_LOCAL.into());
            Cluster { dns, may_be_asked }
        });
        Self {
            configured: config.dns.trusted.iter().copied().collect(),
            in_use: in_use.iter().copied().collect(),
            of_node: BTreeSet::new(),
            may_be_asked: config.dns.allow_resolvers,
            cluster,
        }
    }

    /// Takes in which servers the enforcer asks.
    pub(super) fn set_in_use(&mut self, servers: &[SocketAddr]) {
        self.in_use = servers.iter().copied().collect();
    }

    /// Takes in which servers the node's files name.
    pub(super) fn set_of_node(&mut self, servers: &BTreeSet<SocketAddr>) {
        self.of_node = servers.clone();
    }

    /// Those whose answers count.
    pub(super) fn trusted(&self, registry: &Registry) -> BTreeSet<SocketAddr> {
        let mut trusted = self.of_all(registry);
        if self.configured.is_empty() {
            trusted.extend(&self.of_node);
        }
        trusted
    }

    /// Those of them that do not depend on the spec of a pod.
    fn of_all(&self, registry: &Registry) -> BTreeSet<SocketAddr> {
        if !self.configured.is_empty() {
            return self.configured.clone();
        }
        let of_cluster = self.cluster.iter();
        let of_cluster = of_cluster.flat_map(|cluster| registry.servers_of(&cluster.dns));
        self.in_use.iter().copied().chain(of_cluster).collect()
    }

    /// Those of them that every workload may ask.
    pub(super) fn asked(&self, registry: &Registry) -> BTreeSet<SocketAddr> {
        if !self.may_be_asked {
            return BTreeSet::new();
        }
        let mut asked = self.of_all(registry);
        let closed = self.cluster.iter().filter(|cluster| !cluster.may_be_asked);
        for server in closed.flat_map(|cluster| registry.servers_of(&cluster.dns)) {
            // What is named is meant, wherever it is.
            if !self.configured.contains(&server) && !self.in_use.contains(&server) {
                asked.remove(&server);
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Who is trusted and who may be asked, with 192.0.2.53 in use.
    fn resolvers(config: &str) -> [Vec<String>; 2] {
        let config = Config::parse(config, Path::new("enforcer.yaml")).unwrap();
        let resolvers = Resolvers::new(&config, &["192.0.2.53:5353".parse().unwrap()]);
        let registry = Registry::new(crate::daemon::settings::of_registry(&config, &[]));
        let texts = |servers: BTreeSet<SocketAddr>| servers.iter().map(ToString::to_string).collect();
        [
            texts(resolvers.trusted(&registry)),
            texts(resolvers.asked(&registry)),
        ]
    }

    #[test]
    fn servers_in_use_are_trusted_and_asked_unless_others_are_named() {
        let in_use = ["192.0.2.53:5353"];
        assert_eq!(resolvers("workloads: []"), [in_use, in_use]);
        let named = ["192.0.2.54:53"];
        assert_eq!(resolvers("dns: {trustedResolvers: [192.0.2.54]}"), [named, named]);
        let [trusted, asked] = resolvers("dns: {allowResolvers: false}");
        assert_eq!((trusted, asked.len()), (in_use.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn cluster_is_trusted_where_pods_are_enforced_and_asked_if_it_is_built_in() {
        let [trusted, asked] = resolvers("pods: {builtIn: {clusterDnsAddresses: [10.96.0.10]}}");
        assert_eq!(trusted, ["10.96.0.10:53", "169.254.20.10:53", "192.0.2.53:5353"]);
        assert_eq!(asked, trusted);
        let [trusted, asked] = resolvers("pods: {builtIn: {clusterDns: false}}");
        assert_eq!(trusted, ["169.254.20.10:53", "192.0.2.53:5353"]);
        assert_eq!(asked, ["192.0.2.53:5353"]);
    }

    #[test]
    fn resolvers_of_the_node_are_trusted_unless_others_are_named_and_asked_by_nobody_else() {
        for (text, is_trusted) in [
            ("pods: {}", true),
            ("pods: {}\ndns: {trustedResolvers: [192.0.2.54]}", false),
        ] {
            let config = Config::parse(text, Path::new("enforcer.yaml")).unwrap();
            let mut resolvers = Resolvers::new(&config, &[]);
            let of_node: SocketAddr = "192.0.2.1:53".parse().unwrap();
            resolvers.set_of_node(&[of_node].into());
            let registry = Registry::new(crate::daemon::settings::of_registry(&config, &[]));
            assert_eq!(
                resolvers.trusted(&registry).contains(&of_node),
                is_trusted,
                "{text}"
            );
            assert!(!resolvers.asked(&registry).contains(&of_node));
        }
    }
}
