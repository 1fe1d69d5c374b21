//! Keys of the maps.

use crate::Address;

/// Identifier of a cgroup v2 directory: its inode number, as `bpf_get_current_cgroup_id` gives it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupId(pub u64);

/// Identifier of an installed policy; chosen by the daemon, never 0.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

impl PolicyId {
    /// Number of indices of the policies' array, if so many policies fit. While a plan is carried out there may be
    /// identifiers beside those of policies: of bindings, or of rules that an interrupted plan has left.
    pub const fn indices(capacity: u32) -> u32 {
        capacity.saturating_mul(2).saturating_add(1)
    }
}

/// A set of rules that one or several policies use.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(pub u32);

impl Scope {
    /// Contains no rule: for a policy that shares nothing.
    pub const NONE: Self = Self(0);
    /// The rules that are shared mesh-wide.
    pub const SHARED: Self = Self(1);
    /// Those, and what stands behind them: shared by the workloads with a proxy.
    pub const PROXIED: Self = Self(2);

    /// The rules of one policy alone.
    #[inline(always)]
    pub const fn of_policy(policy: PolicyId) -> Self {
        Self(policy.0.wrapping_add(Self::PROXIED.0))
    }

    /// Number of indices of the kinds' array, if so many policies fit.
    pub const fn indices(capacity: u32) -> u32 {
        PolicyId::indices(capacity).saturating_add(Self::PROXIED.0)
    }
}

/// Which kinds of rules a scope has: what it has none of is not looked up. As bits of a number.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(pub u32);

impl Kinds {
    /// No rule.
    pub const NONE: Self = Self(0);
    /// Rules with one address.
    pub const EXACT: Self = Self(1);
    /// Rules with any address.
    pub const PORT: Self = Self(1 << 1);
    /// Rules with a network.
    pub const PREFIX: Self = Self(1 << 2);
    /// Rules with a host.
    pub const HOST: Self = Self(1 << 3);
    /// Any.
    pub const ALL: Self = Self(Self::EXACT.0 | Self::PORT.0 | Self::PREFIX.0 | Self::HOST.0);

    /// Whether `kind` is among them.
    #[inline(always)]
    pub const fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    /// These and `other`.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Transport protocol, by its IP protocol number.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP, MPTCP included.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

/// From its number; returns the number as the error if it is invalid.
impl TryFrom<u8> for Transport {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        match number {
            6 => Ok(Self::Tcp),
            17 => Ok(Self::Udp),
            other => Err(other),
        }
    }
}

/// Key of a rule for one port; on its own the key of "any address on this port".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// The set of rules to search.
    pub scope: Scope,
    /// Network byte order.
    pub port: [u8; 2],
    /// A [`Transport`] as its protocol number.
    pub transport: u8,
    /// Always zero.
    pub pad: u8,
}

impl PortKey {
    /// Bits of this key in front of the address in the prefix trie.
    pub const BITS: u32 = 64;

    /// `port` in network byte order.
    #[inline(always)]
    pub const fn new(scope: Scope, transport: Transport, port: [u8; 2]) -> Self {
        Self {
            scope,
            port,
            transport: transport as u8,
            pad: 0,
        }
    }
}

/// Key of the exact rules, and the data of the prefix rules' trie key, whose prefix length is [`PortKey::BITS`] plus
/// the prefix length of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    /// Scope, transport and port.
    pub port: PortKey,
    /// The destination, or the network's address.
    pub address: Address,
}

/// Identifier of a host as a rule names it, a name or a wildcard: the first 16 bytes of the SHA-256 of its text. The
/// same host always has the same identifier, and two hosts with the same identifier cannot be found. As numbers,
/// which programs copy and compare at once, and not byte by byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId {
    high: u64,
    low: u64,
}

impl HostId {
    /// No host.
    pub const NONE: Self = Self { high: 0, low: 0 };

    /// From its bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, low @ ..] = bytes;
        Self {
            high: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            low: u64::from_be_bytes(low),
        }
    }

    /// Its bytes as one number, the first byte the highest.
    pub const fn number(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// Whether it equals `other`.
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        self.high == other.high && self.low == other.low
    }
}

/// Key of the rules that name a host: they allow the addresses that a trusted resolver has given the workload for
/// it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey {
    /// Scope, transport and port.
    pub port: PortKey,
    /// The host.
    pub host: HostId,
}

const _: () = assert!(size_of::<PortKey>() == 8 && size_of::<RuleKey>() == 24 && size_of::<HostKey>() == 24);
