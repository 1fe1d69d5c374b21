//! What workloads were seen to do, as the programs count it.

use crate::{Address, CgroupId, Outcome, Reason, Transport, Verdict};

/// All calls of a workload to one destination that had one result: key of the map of what was seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeenKey {
    /// The workload's cgroup.
    pub workload: CgroupId,
    /// The destination.
    pub address: Address,
    /// The port in network byte order, then a byte each: the transport, the [`Sight`], and 1 for a
    /// [`SeenKey::is_probe`].
    what: u64,
}

/// What became of a call.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sight {
    /// A rule allows it.
    Allowed = 1,
    /// It was refused.
    Denied = 2,
    /// No rule allows it, and audit let it through.
    Audited = 3,
    /// No rule allows it, and ALLOW_ANY let it through.
    Unregistered = 4,
}

impl Sight {
    /// Of a verdict; None of what is not about a destination: what is not checked, stays on the machine, is an answer, or
    /// is refused for another reason than that no rule allows it.
    #[inline(always)]
    pub const fn of(outcome: Outcome) -> Option<Self> {
        match (outcome.verdict, outcome.reason) {
            (Verdict::Deny, Reason::NoRule) => Some(Self::Denied),
            (Verdict::Audit, Reason::NoRule) => Some(Self::Audited),
            (Verdict::Deny | Verdict::Audit, _) => None,
            (Verdict::Allow, Reason::NoRule) => Some(Self::Unregistered),
            (Verdict::Allow, Reason::Loopback | Reason::NotEnforced | Reason::Own | Reason::Answer) => None,
            (Verdict::Allow, _) => Some(Self::Allowed),
        }
    }
}

impl SeenKey {
    /// The last part of a key. `port` is in network byte order.
    #[inline(always)]
    pub const fn what(port: [u8; 2], transport: u8, sight: Sight, is_probe: bool) -> u64 {
        let [high, low] = port;
        u64::from_ne_bytes([high, low, transport, sight as u8, is_probe as u8, 0, 0, 0])
    }

    /// With its last part from [`SeenKey::what`].
    #[inline(always)]
    pub const fn new(workload: CgroupId, address: Address, what: u64) -> Self {
        Self {
            workload,
            address,
            what,
        }
    }

    /// The port in the machine's byte order.
    pub const fn port(&self) -> u16 {
        let [high, low, ..] = self.what.to_ne_bytes();
        u16::from_be_bytes([high, low])
    }

    /// What carried it; None if the number is of none that is known.
    pub const fn transport(&self) -> Option<Transport> {
        const TCP: u8 = Transport::Tcp as u8;
        const UDP: u8 = Transport::Udp as u8;
        match self.what.to_ne_bytes()[2] {
            TCP => Some(Transport::Tcp),
            UDP => Some(Transport::Udp),
            _ => None,
        }
    }

    /// What became of it; None if the number is of none that is known.
    pub const fn sight(&self) -> Option<Sight> {
        match self.what.to_ne_bytes()[3] {
            1 => Some(Sight::Allowed),
            2 => Some(Sight::Denied),
            3 => Some(Sight::Audited),
            4 => Some(Sight::Unregistered),
            _ => None,
        }
    }

    /// Whether it is `connect()` of a datagram socket, which sends nothing: resolver libraries use it to sort addresses.
    pub const fn is_probe(&self) -> bool {
        self.what.to_ne_bytes()[4] != 0
    }
}

/// How often something was seen: value of that map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often since it was last read.
    pub count: u64,
    /// When last, in nanoseconds since boot (`bpf_ktime_get_ns`); within a tick of the kernel, the first time.
    pub last: u64,
    /// The tick of that time (`bpf_jiffies64`). Reading it is cheap, and saves reading the clock for each call.
    pub tick: u64,
}

const _: () = assert!(size_of::<SeenKey>() == 32 && size_of::<Tally>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_says_what_it_was_made_of() {
        for (sight, transport, is_probe) in [
            (Sight::Allowed, Transport::Tcp, false),
            (Sight::Denied, Transport::Udp, true),
            (Sight::Audited, Transport::Udp, false),
            (Sight::Unregistered, Transport::Tcp, false),
        ] {
            let what = SeenKey::what([0x14, 0xe9], transport as u8, sight, is_probe);
            let key = SeenKey::new(CgroupId(7), Address::LOOPBACK_V4, what);
            assert_eq!((key.port(), key.is_probe()), (5353, is_probe));
            assert_eq!((key.transport(), key.sight()), (Some(transport), Some(sight)));
        }
        let key = SeenKey::new(CgroupId(7), Address::LOOPBACK_V4, 0);
        assert_eq!((key.transport(), key.sight()), (None, None));
    }

    #[test]
    fn what_stays_on_the_machine_is_not_seen() {
        let of = |verdict, reason| Sight::of(Outcome { verdict, reason });
        assert_eq!(of(Verdict::Allow, Reason::Loopback), None);
        assert_eq!(of(Verdict::Allow, Reason::NotEnforced), None);
        assert_eq!(of(Verdict::Allow, Reason::NoRule), Some(Sight::Unregistered));
        assert_eq!(of(Verdict::Allow, Reason::Host), Some(Sight::Allowed));
        assert_eq!(of(Verdict::Deny, Reason::NoRule), Some(Sight::Denied));
        assert_eq!(of(Verdict::Deny, Reason::Device), None);
    }
}
