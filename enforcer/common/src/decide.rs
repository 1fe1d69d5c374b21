//! The verdict on one flow.

use crate::{Address, Kinds, Policy, PortKey, RuleKey, Scope, Transport, policy::Mode};

/// What a socket wants to reach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The transport of the socket.
    pub transport: Transport,
    /// Network byte order.
    pub port: [u8; 2],
    /// The destination.
    pub address: Address,
}

/// The result of a call.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It proceeds.
    Allow = 1,
    /// It returns an errno.
    Deny = 2,
    /// It proceeds, and would have been refused under enforcement.
    Audit = 3,
}

/// The step that decided.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The destination is the workload's own network namespace.
    Loopback = 1,
    /// A rule names the address.
    Exact = 2,
    /// A rule names a network that contains the address.
    Prefix = 3,
    /// A rule names the port with any address.
    Port = 4,
    /// The policy allows all UDP.
    Udp = 5,
    /// No rule allows it.
    NoRule = 6,
    /// The policy is off.
    NotEnforced = 7,
    /// The process belongs to no known workload.
    UnknownWorkload = 8,
    /// The maps contradict each other: a workload refers to a policy that does not exist.
    NoPolicy = 9,
    /// A socket of this kind bypasses the rules, and is not opted in.
    SocketKind = 10,
    /// A socket option would send packets elsewhere than their destination says.
    Reroute = 11,
    /// A packet has IP options or extension headers.
    Headers = 12,
    /// A packet is of a protocol that rules do not cover, and is not opted in.
    Protocol = 13,
    /// The destination is one of the workload's own addresses.
    Own = 14,
    /// The destination is a loopback address, and the socket would send to it by another device, where it could be
    /// redirected.
    Device = 15,
    /// A datagram to a peer from which the same socket has received one: a server's answer.
    Answer = 16,
    /// The socket sent to a loopback address, and the kernel's NAT has rewritten it to another destination, which no
    /// rule allows.
    Translated = 17,
    /// A rule names a host, and a trusted resolver has given the workload this address for it.
    Host = 18,
    /// A packet of an enforced workload claims to come from a trusted resolver, whose answers are trusted.
    Resolver = 19,
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The result of the call.
    pub verdict: Verdict,
    /// The step that decided.
    pub reason: Reason,
}

/// Where rules are looked up: the kernel's maps, or their model on the host.
pub trait Rules {
    /// The kinds of rules that the scope may have: a kind that is missing is not asked for.
    fn kinds(&self, scope: Scope) -> Kinds;
    /// Whether a rule names this address.
    fn exact(&self, key: &RuleKey) -> bool;
    /// Whether a rule names a network that contains this address.
    fn prefix(&self, key: &RuleKey) -> bool;
    /// Whether a rule names this port with any address.
    fn port(&self, key: &PortKey) -> bool;
    /// Whether this address is one of the workload's own. Called last, so that it costs nothing for what rules
    /// allow.
    fn own(&self, address: &Address) -> bool;
    /// Whether a rule of one of the scopes names a host for which a trusted resolver has recently given the workload
    /// this address. Called after everything else; may record that the address is in use.
    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool;
}

impl Verdict {
    /// From its number; any other number is a refusal.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Allow,
            3 => Self::Audit,
            _ => Self::Deny,
        }
    }
}

/// From its number; returns the number as the error if it is invalid.
impl TryFrom<u8> for Verdict {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        let verdict = Self::from_number(number);
        if verdict as u8 == number {
            Ok(verdict)
        } else {
            Err(number)
        }
    }
}

/// From its number; returns the number as the error if it is invalid.
impl TryFrom<u8> for Reason {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        Self::from_number(number).ok_or(number)
    }
}

impl Reason {
    /// From its number, if it is one.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Loopback,
            2 => Self::Exact,
            3 => Self::Prefix,
            4 => Self::Port,
            5 => Self::Udp,
            6 => Self::NoRule,
            7 => Self::NotEnforced,
            8 => Self::UnknownWorkload,
            9 => Self::NoPolicy,
            10 => Self::SocketKind,
            11 => Self::Reroute,
            12 => Self::Headers,
            13 => Self::Protocol,
            14 => Self::Own,
            15 => Self::Device,
            16 => Self::Answer,
            17 => Self::Translated,
            18 => Self::Host,
            19 => Self::Resolver,
            _ => return None,
        })
    }
}

impl Outcome {
    /// As one number, which a BPF function can return.
    #[inline(always)]
    pub const fn to_number(self) -> u64 {
        self.verdict as u64 | (self.reason as u64) << 8
    }

    /// From [`Self::to_number`]; an invalid number is a refusal.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each part is one byte of the number"
    )]
    pub const fn from_number(number: u64) -> Self {
        match Reason::from_number((number >> 8) as u8) {
            Some(reason) => Self {
                verdict: Verdict::from_number(number as u8),
                reason,
            },
            None => Self {
                verdict: Verdict::Deny,
                reason: Reason::NoPolicy,
            },
        }
    }

    /// The outcome if a rule with a host allows the flow.
    pub const HOST: Self = Self {
        verdict: Verdict::Allow,
        reason: Reason::Host,
    };

    /// Whether a host for which the workload was given the address may still allow it: the second half of
    /// [`decide`].
    #[inline(always)]
    pub const fn is_by_host(&self) -> bool {
        matches!(self.reason, Reason::NoRule)
    }

    /// Whether the daemon gets an event: for everything that enforcement refuses or would refuse.
    #[inline(always)]
    pub const fn is_reported(&self) -> bool {
        matches!(
            self.reason,
            Reason::NoRule
                | Reason::UnknownWorkload
                | Reason::NoPolicy
                | Reason::SocketKind
                | Reason::Reroute
                | Reason::Headers
                | Reason::Protocol
                | Reason::Device
                | Reason::Translated
                | Reason::Resolver
        )
    }
}

/// Whether the destination is the caller's own network namespace, which is never refused as long as packets to it
/// leave by the loopback device. The unspecified IPv6 address is included: Linux treats it as the loopback address
/// (`tcp_v6_connect`, `udpv6_sendmsg`). For the unspecified IPv4 address see [`target`].
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "each half is what it is cut to")]
pub const fn is_loopback(address: &Address) -> bool {
    /// `::ffff:0:0`.
    const MAPPED: u64 = 0xffff << 32;
    let whole = u128::from_be_bytes(address.0);
    let (high, low) = ((whole >> 64) as u64, whole as u64);
    // As numbers: the compiler for BPF takes a pattern of bytes apart byte by byte.
    high == 0 && (low <= 1 || low == MAPPED || low >> 24 == (MAPPED | 127 << 24) >> 24)
}

/// The address to which the kernel sends for `name`, from a socket whose source is `source`: the unspecified IPv4
/// address stands for the source itself, or for loopback if there is no source (`ip_route_output_key_hash_rcu`).
#[inline(always)]
pub const fn target(name: Address, source: Address) -> Address {
    if !name.is(&Address::UNSPECIFIED_V4) {
        name
    } else if source.is(&Address::UNSPECIFIED_V4) || source.is(&Address::UNSPECIFIED) {
        Address::LOOPBACK_V4
    } else {
        source
    }
}

/// Index of the loopback device in every network namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK_DEVICE: u32 = 1;

/// Whether a socket that is bound to `device` sends by another device than the loopback device, regardless of the
/// destination; 0 means not bound.
#[inline(always)]
pub const fn is_bound_elsewhere(device: u32) -> bool {
    device > LOOPBACK_DEVICE
}

/// The verdict on `flow` for a workload under `policy`: by its address and, if that does not allow it, by the hosts
/// for which the workload was given the address.
#[inline(always)]
pub fn decide(policy: &Policy, flow: &Flow, rules: &impl Rules) -> Outcome {
    let outcome = by_address(policy, flow, rules);
    if outcome.is_by_host() && rules.host([policy.own, policy.shared], flow) {
        Outcome::HOST
    } else {
        outcome
    }
}

/// The first half of [`decide`]. The programs' stack has no room for both halves at once.
#[inline(always)]
pub fn by_address(policy: &Policy, flow: &Flow, rules: &impl Rules) -> Outcome {
    if is_loopback(&flow.address) {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::Loopback,
        };
    }
    if policy.mode == Mode::Off as u32 {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::NotEnforced,
        };
    }
    if flow.transport as u8 == Transport::Udp as u8 && policy.flags & Policy::FLAG_ALLOW_UDP != 0 {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::Udp,
        };
    }
    if let Some(reason) = find(policy.own, flow, rules) {
        return Outcome {
            verdict: Verdict::Allow,
            reason,
        };
    }
    if policy.shared.0 != Scope::NONE.0
        && let Some(reason) = find(policy.shared, flow, rules)
    {
        return Outcome {
            verdict: Verdict::Allow,
            reason,
        };
    }
    if rules.own(&flow.address) {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::Own,
        };
    }
    refuse(policy.mode, Reason::NoRule)
}

/// The verdict of `mode`, a [`Mode`], on a flow that nothing allows; an invalid number is a refusal.
#[inline(always)]
pub fn refuse(mode: u32, reason: Reason) -> Outcome {
    if mode == Mode::Audit as u32 {
        Outcome {
            verdict: Verdict::Audit,
            reason,
        }
    } else if mode == Mode::Observe as u32 {
        Outcome {
            verdict: Verdict::Allow,
            reason,
        }
    } else if mode == Mode::Off as u32 {
        Outcome {
            verdict: Verdict::Allow,
            reason: Reason::NotEnforced,
        }
    } else {
        Outcome {
            verdict: Verdict::Deny,
            reason,
        }
    }
}

#[inline(always)]
fn find(scope: Scope, flow: &Flow, rules: &impl Rules) -> Option<Reason> {
    let port = PortKey::new(scope, flow.transport, flow.port);
    let key = RuleKey {
        port,
        address: flow.address,
    };
    // Asked anew each time: a rule that replaces another of another kind is there before that is gone.
    let has = |kind| rules.kinds(scope).has(kind);
    if has(Kinds::EXACT) && rules.exact(&key) {
        Some(Reason::Exact)
    } else if has(Kinds::PORT) && rules.port(&port) {
        Some(Reason::Port)
    } else if has(Kinds::PREFIX) && rules.prefix(&key) {
        Some(Reason::Prefix)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_is_the_same_by_its_number() {
        for number in 1..=u8::MAX {
            let Some(reason) = Reason::from_number(number) else {
                continue;
            };
            assert_eq!(reason as u8, number);
            for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Audit] {
                let outcome = Outcome { verdict, reason };
                assert_eq!(Outcome::from_number(outcome.to_number()), outcome);
            }
        }
        assert_eq!(Outcome::from_number(0).verdict, Verdict::Deny);
        assert_eq!(Reason::from_number(20), None, "a reason that is not in the table");
    }
}
