//! Converts the configuration into the settings of each part.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use enforcer_common::{Mode, Settings, socket};
use enforcer_core::{model, names::Pacing, settings};

use ipnet::IpNet;

use crate::{
    config::{self, Config, Enforcement, Matching, Sockets, Udp, UnknownWorkloads},
    names,
};

/// What holds for all programs.
pub(super) fn of_programs(config: &Config) -> Settings {
    // If pods are audited, or off unless they are labelled, a pod that is not known yet is not refused either.
    let is_trial = |pods: &config::Pods| pods.scope.default != model::Enforcement::Enforce;
    let is_audit = config.enforcement == Enforcement::Audit || config.pods.as_ref().is_some_and(is_trial);
    let unknown = match config.unknown_workloads {
        UnknownWorkloads::Allow => Mode::Observe,
        UnknownWorkloads::Deny if is_audit => Mode::Audit,
        UnknownWorkloads::Deny => Mode::Enforce,
    };
    Settings {
        errno: config.errno.number(),
        depth_min: 1,
        depth_max: 1,
        unknown: unknown as u32,
        sockets: sockets(config.sockets),
        learned: config.dns.learn.addresses,
        floor: nanoseconds(config.dns.learn.min_ttl),
        ceiling: nanoseconds(config.dns.learn.max_ttl),
        grace: nanoseconds(config.dns.grace),
        resolver_ports: 0,
        ..Settings::STRICT
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn sockets(config: Sockets) -> u32 {
    let Sockets {
        raw,
        icmp,
        sctp,
        udplite,
        packet,
    } = config;
    let bits = [
        (raw, socket::RAW),
        (icmp, socket::ICMP),
        (sctp, socket::SCTP),
        (udplite, socket::UDPLITE),
        (packet, socket::PACKET),
    ];
    bits.iter()
        .filter(|(admitted, _)| *admitted)
        .fold(0, |all, (_, bit)| all | bit)
}

/// Networks whose addresses count for no name, whatever an answer says.
pub(super) fn protected(config: &Config) -> BTreeSet<IpNet> {
    let always = PROTECTED
        .iter()
        .map(|text| text.parse().expect("it is a network"));
    always.chain(config.dns.learn.protected.iter().copied()).collect()
}

/// Addresses that no name outside can stand for: of the machine, of the link, of the cloud's metadata, of many, of none.
const PROTECTED: [&str; 18] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
    // Metadata of clouds: Amazon, Google; Alibaba, Azure, Oracle.
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    // Link-local and loopback addresses of IPv4 as NAT64 and 6to4 reach them.
    "64:ff9b::a9fe:0/112",
    "64:ff9b::7f00:0/104",
    "2002:a9fe::/32",
    "2002:7f00::/24",
];

/// How names are resolved; `memory` is the file of what is known of them.
pub(crate) fn of_names(config: &Config, memory: Option<PathBuf>) -> names::Settings {
    let pacing = Pacing {
        floor: config.dns.min_ttl,
        grace: config.dns.grace,
        ..Pacing::default()
    };
    names::Settings {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
        memory,
        pacing,
        ..names::Settings::default()
    }
}

/// What the registry is to mean.
pub(crate) fn of_registry(config: &Config, servers: &[SocketAddr]) -> settings::Settings {
    let trusted = if config.dns.trusted.is_empty() {
        servers
    } else {
        &config.dns.trusted
    };
    let (resolvers, trusted) = if config.dns.allow_resolvers {
        let resolvers = servers.iter().map(SocketAddr::ip).collect();
        (resolvers, trusted.iter().copied().collect())
    } else {
        (BTreeSet::new(), BTreeSet::new())
    };
    settings::Settings {
        mode: config.outbound,
        audit: config.enforcement == Enforcement::Audit,
        matching: match config.matching {
            Matching::Declared => settings::Matching::Declared,
            Matching::Istio => settings::Matching::Istio,
        },
        udp: match config.udp {
            Udp::Registry => settings::UdpPolicy::Registry,
            Udp::Allow => settings::UdpPolicy::Allow,
            Udp::DnsOnly => settings::UdpPolicy::DnsOnly,
        },
        resolvers,
        trusted,
        learns: config.dns.learn.enabled,
        allowances: config
            .pods
            .as_ref()
            .map(|pods| pods.built_in.allowances.clone())
            .unwrap_or_default(),
        revision: config.revision.clone().unwrap_or_default(),
        protected: protected(config),
        protects_cluster: config.dns.learn.protect_cluster,
        ..settings::Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, path::Path};

    use super::*;

    #[test]
    fn addresses_of_metadata_and_of_the_cluster_count_for_no_name() {
        let config = |text| Config::parse(text, Path::new("enforcer.yaml")).unwrap();
        let settings = of_registry(&config("workloads: []"), &[]);
        for address in ["169.254.169.254", "fd00:ec2::254", "127.0.0.1", "::ffff:0:0"] {
            let address: IpAddr = address.parse().unwrap();
            let is_protected = settings
                .protected
                .iter()
                .any(|it| it.contains(&address.to_canonical()));
            assert!(is_protected, "{address}");
        }
        assert!(settings.protects_cluster);
        let text = "dns: {learn: {protectCluster: false, protected: [198.51.100.0/24]}}";
        let settings = of_registry(&config(text), &[]);
        assert!(settings.protected.contains(&"198.51.100.0/24".parse().unwrap()));
        assert!(!settings.protects_cluster);
    }
}
