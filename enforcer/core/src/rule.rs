//! What a policy is made of.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use enforcer_common::{Address, HostId, HostKey, PortKey, RuleKey, Scope, Transport};
use ipnet::{IpNet, Ipv6Net};

/// One permission: a transport and a port, to an address, a network, a host or anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// What carries the flow.
    pub transport: Transport,
    /// The port that a client dials, never 0.
    pub port: u16,
    /// The allowed addresses.
    pub to: To,
}

/// The addresses of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum To {
    /// Any address of either family.
    Any,
    /// One address; never an IPv4-mapped one.
    Address(IpAddr),
    /// A network of more than one address, host bits zero. An IPv6 one never contains `::ffff:0:0/96`, which is
    /// all of IPv4 in the kernel's trie.
    Network(IpNet),
    /// Addresses that a trusted resolver has given the workload for this host.
    Host(HostId),
}

/// The rules of a scope, in their order.
pub type Rules = BTreeSet<Rule>;

impl To {
    /// A network of one address is that address; host bits are cleared; an IPv4-mapped network of 96 bits or
    /// more is the IPv4 network.
    pub fn network(network: IpNet) -> Self {
        let network = unmapped(network).trunc();
        if network.prefix_len() == network.max_prefix_len() {
            Self::Address(network.addr())
        } else {
            Self::Network(network)
        }
    }

    /// The addresses of `network`, in one piece unless it is an IPv6 network around `::ffff:0:0/96`: that is
    /// left out, so that `::/0` does not let IPv4 through.
    pub fn networks(network: IpNet) -> Vec<Self> {
        let network = unmapped(network).trunc();
        let IpNet::V6(mut around) = network else {
            return vec![Self::network(network)];
        };
        let mapped = Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96);
        let mut pieces = Vec::new();
        while around.contains(&mapped) && around.prefix_len() < mapped.prefix_len() {
            let halves = around.subnets(around.prefix_len() + 1).into_iter().flatten();
            for half in halves {
                if half.contains(&mapped) {
                    around = half;
                } else {
                    pieces.push(Self::network(half.into()));
                }
            }
        }
        if pieces.is_empty() {
            pieces.push(Self::network(network));
        }
        pieces
    }

    /// Whether `address`, not IPv4-mapped, is among them whatever a workload was given for a host.
    pub fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Address(one) => *one == address,
            Self::Network(network) => network.contains(&address),
            Self::Host(_) => false,
        }
    }
}

fn unmapped(network: IpNet) -> IpNet {
    match (network.addr(), network.addr().to_canonical()) {
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if network.prefix_len() >= 96 => {
            IpNet::new(v4, network.prefix_len() - 96).expect("at most 128 - 96 bits are left")
        }
        _ => network,
    }
}

/// The map and key of a rule in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The map of ports.
    Port(PortKey),
    /// The map of addresses.
    Exact(RuleKey),
    /// The trie of networks, with the key's prefix length in bits.
    Prefix(u32, RuleKey),
    /// The map of hosts.
    Host(HostKey),
}

impl Rule {
    /// The map and key of the rule within `scope`.
    pub fn slot(&self, scope: Scope) -> Slot {
        let port = PortKey::new(scope, self.transport, self.port.to_be_bytes());
        match self.to {
            To::Any => Slot::Port(port),
            To::Address(address) => Slot::Exact(RuleKey {
                port,
                address: address.into(),
            }),
            To::Network(network) => {
                let family = if network.addr().is_ipv4() {
                    Address::V4_PREFIX_BITS
                } else {
                    0
                };
                let bits = PortKey::BITS + family + u32::from(network.prefix_len());
                Slot::Prefix(
                    bits,
                    RuleKey {
                        port,
                        address: network.addr().into(),
                    },
                )
            }
            To::Host(host) => Slot::Host(HostKey { port, host }),
        }
    }

    /// The rule at `slot`, with its scope; the inverse of [`Rule::slot`]. None if no rule can have that key:
    /// another program wrote it.
    pub fn from_slot(slot: &Slot) -> Option<(Scope, Self)> {
        let (key, to) = match slot {
            Slot::Port(port) => (port, To::Any),
            Slot::Exact(key) => (&key.port, To::Address(key.address.into())),
            Slot::Host(key) => (&key.port, To::Host(key.host)),
            Slot::Prefix(bits, key) => {
                let address = IpAddr::from(key.address);
                let family = if address.is_ipv4() {
                    Address::V4_PREFIX_BITS
                } else {
                    0
                };
                let length = bits.checked_sub(PortKey::BITS + family)?;
                (
                    &key.port,
                    To::Network(IpNet::new(address, u8::try_from(length).ok()?).ok()?),
                )
            }
        };
        let transport = Transport::try_from(key.transport).ok()?;
        Some((
            key.scope,
            Self {
                transport,
                port: u16::from_be_bytes(key.port),
                to,
            },
        ))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        match self.to {
            To::Any => write!(f, "{transport} *:{}", self.port),
            To::Address(IpAddr::V6(address)) => write!(f, "{transport} [{address}]:{}", self.port),
            To::Address(address) => write!(f, "{transport} {address}:{}", self.port),
            To::Network(network) => write!(f, "{transport} {network}:{}", self.port),
            To::Host(host) => write!(f, "{transport} host {:032x}:{}", host.number(), self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_network_around_the_mapped_addresses_leaves_them_out() {
        for (text, count) in [("::/0", 96), ("::/64", 32), ("::fffe:0:0/95", 1)] {
            let pieces = To::networks(text.parse().unwrap());
            assert_eq!(pieces.len(), count, "{text}");
            let holds = |address: &str| {
                let address = address.parse().unwrap();
                pieces.iter().filter(|piece| piece.contains(address)).count()
            };
            assert_eq!(holds("::ffff:192.0.2.1"), 0, "{text}");
            assert_eq!(holds("192.0.2.1"), 0, "{text}");
            assert_eq!(holds("::fffe:1:1"), 1, "{text}");
        }
    }

    #[test]
    fn other_networks_stay_in_one_piece() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "192.0.2.1/32",
            "2001:db8::/32",
            "2001:db8::1/128",
        ] {
            let network = text.parse().unwrap();
            assert_eq!(To::networks(network), [To::network(network)]);
        }
        let mapped = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(To::networks(mapped), [To::Network("10.0.0.0/8".parse().unwrap())]);
    }
}
