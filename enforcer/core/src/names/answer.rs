//! Queries to the resolvers, and their answers.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::model::Host;

/// The two kinds of address records; each has its own answer, age and failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        })
    }
}

/// One question: the addresses of a host in one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Query {
    /// A name that is no wildcard.
    pub host: Host,
    /// Which records.
    pub family: Family,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The question.
    pub query: Query,
    /// The last result from the resolvers.
    pub result: Result<Answer, Failure>,
}

/// Addresses that a resolver gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As received; unusable ones are left out later. An empty set is a failure.
    pub addresses: BTreeSet<IpAddr>,
    /// The shortest TTL of the records from the host's name to the addresses.
    pub ttl: Duration,
}

/// Why there are no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}", self.server.map(|server| format!(" (resolver {server})")).unwrap_or_default())]
pub struct Failure {
    /// What went wrong.
    pub cause: Cause,
    /// The server that reported it, if one did.
    pub server: Option<SocketAddr>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The name exists without records of this family (NODATA).
    #[error("no addresses (NODATA)")]
    Empty {
        /// For how long the zone says that this holds.
        ttl: Option<Duration>,
    },
    /// The name does not exist.
    #[error("no such name (NXDOMAIN)")]
    NoSuchName {
        /// For how long the zone says that this holds.
        ttl: Option<Duration>,
    },
    /// The resolver could not find out.
    #[error("server failure (SERVFAIL)")]
    ServerFailure,
    /// The resolver does not want to say.
    #[error("refused (REFUSED)")]
    Refused,
    /// Nothing came back in time.
    #[error("no answer in time")]
    Timeout,
    /// Every address given is one that nothing can connect to.
    #[error("no usable address in the answer ({0})")]
    Unusable(IpAddr),
    /// Anything else, as text.
    #[error("{0}")]
    Other(String),
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, server: None }
    }
}

impl Cause {
    /// Whether a resolver that knows says that there are no such records, and for how long that holds.
    pub fn denies(&self) -> Option<Option<Duration>> {
        match self {
            Self::Empty { ttl } | Self::NoSuchName { ttl } => Some(*ttl),
            _ => None,
        }
    }
}

/// The addresses of an answer, sorted out.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// What a rule can be made of, IPv4-mapped addresses as IPv4, no more than were asked for.
    pub(super) usable: BTreeSet<IpAddr>,
    /// Multicast and broadcast addresses: no service lives there, and a rule for them would reach many hosts.
    pub(super) senseless: BTreeSet<IpAddr>,
    /// How many usable addresses were too many.
    pub(super) left_out: usize,
}

/// Sorts out what a resolver or the hosts file gave. Loopback and unspecified addresses (a blocked name, a local
/// proxy) are dropped: they are always allowed and need no rule. Link-local ones stay: cloud metadata services
/// live there, under names.
pub(super) fn sort(given: &BTreeSet<IpAddr>, most: usize) -> Sorted {
    let mut sorted = Sorted::default();
    for address in given.iter().map(IpAddr::to_canonical) {
        if address.is_multicast() || address == Ipv4Addr::BROADCAST {
            sorted.senseless.insert(address);
        } else if address.is_loopback() || address.is_unspecified() {
        } else if sorted.usable.len() < most {
            sorted.usable.insert(address);
        } else if !sorted.usable.contains(&address) {
            sorted.left_out += 1;
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(given: &[&str], usable: &[&str], senseless: &[&str]) {
        let sorted = sort(&set(given), 1024);
        assert_eq!(sorted.usable, set(usable), "usable of {given:?}");
        assert_eq!(sorted.senseless, set(senseless), "senseless of {given:?}");
    }

    #[test]
    fn loopback_and_unspecified_addresses_make_no_rules_and_no_noise() {
        check(&["127.0.0.1", "127.8.9.10", "0.0.0.0", "::1", "::"], &[], &[]);
        check(&["::ffff:127.0.0.1", "192.0.2.1"], &["192.0.2.1"], &[]);
    }

    #[test]
    fn multicast_and_broadcast_addresses_make_no_sense() {
        check(
            &["224.0.0.1", "255.255.255.255", "ff02::1", "192.0.2.1"],
            &["192.0.2.1"],
            &["224.0.0.1", "255.255.255.255", "ff02::1"],
        );
    }

    #[test]
    fn link_local_private_and_reserved_addresses_are_usable() {
        let given = ["169.254.169.254", "10.0.0.1", "240.240.0.1", "fe80::1", "fd00::1"];
        check(&given, &given, &[]);
    }

    #[test]
    fn mapped_address_is_the_ipv4_address() {
        check(&["::ffff:192.0.2.1"], &["192.0.2.1"], &[]);
    }

    #[test]
    fn what_is_too_many_is_counted() {
        let given = (0..130).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        let sorted = sort(&given, 100);
        assert_eq!((sorted.usable.len(), sorted.left_out), (100, 30));
    }

    #[test]
    fn failure_names_its_resolver() {
        let failure = Failure {
            cause: Cause::ServerFailure,
            server: Some("192.0.2.53:53".parse().unwrap()),
        };
        assert_eq!(
            failure.to_string(),
            "server failure (SERVFAIL) (resolver 192.0.2.53:53)"
        );
        assert_eq!(Failure::from(Cause::Timeout).to_string(), "no answer in time");
    }
}
