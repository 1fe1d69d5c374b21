//! What the programs remember from one call to the next: of a socket, of who has sent to it, and of how much was told.

use crate::{Address, CgroupId};

/// Value of the sockets' storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// Bits of the constants below.
    pub flags: u32,
    /// Always zero.
    pub pad: u32,
}

impl SocketState {
    /// An unconnected datagram socket that has sent to a loopback address: should its packets leave by another device,
    /// the kernel's NAT has led them there.
    pub const LOCAL: u32 = 1;
    /// A TCP socket whose `connect()` to somewhere beyond loopback was let through.
    pub const OUTWARD: u32 = 1 << 1;
    /// A datagram socket that is connected to somebody who had sent to it: a server's, for one client.
    pub const ANSWERING: u32 = 1 << 2;
    /// A socket that may be bound to an address that is not the machine's.
    pub const FREE: u32 = 1 << 3;
}

/// Somebody with whom a datagram socket exchanges datagrams. Each peer has two entries: one of the socket, and one of
/// its cgroup and port, since some servers answer each client from a socket of its own on the same port. With port 0 it
/// is no peer but an address of the machine at which the socket was reached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The socket's cookie, or the identifier of the cgroup in which it was born.
    pub owner: u64,
    /// The peer's address.
    pub address: Address,
    /// The peer's port in network byte order.
    pub port: [u8; 2],
    /// The socket's own port in the machine's byte order; 0 with a cookie.
    pub local_port: u16,
    /// Always zero.
    pub pad: u32,
}

impl PeerKey {
    /// Of one socket.
    #[inline(always)]
    pub const fn of_socket(cookie: u64, address: Address, port: [u8; 2]) -> Self {
        Self {
            owner: cookie,
            address,
            port,
            local_port: 0,
            pad: 0,
        }
    }

    /// The same peer for all sockets of a cgroup on one port.
    #[inline(always)]
    pub const fn of_port(&self, cgroup: CgroupId, local_port: u16) -> Self {
        Self {
            owner: cgroup.0,
            local_port,
            ..*self
        }
    }
}

/// Value of the map of peers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// When it was last heard of, in nanoseconds since boot (`bpf_ktime_get_ns`).
    pub time: u64,
    /// Not 0 if the socket had sent first, because a rule allowed it: what comes back is an answer and nothing to
    /// answer.
    pub is_asked: u64,
}

impl Peer {
    /// For how long somebody who has sent may be answered, in nanoseconds: as long as the kernel's connection tracking
    /// remembers a stream of datagrams at least.
    pub const LIFETIME: u64 = 180 * 1_000_000_000;
    /// How old an entry gets before it is written again, in nanoseconds.
    pub const RENEWAL: u64 = 10 * 1_000_000_000;

    /// Whether it may be answered at `now`.
    #[inline(always)]
    pub const fn may_be_answered(&self, now: u64) -> bool {
        self.is_asked == 0 && now.wrapping_sub(self.time) < Self::LIFETIME
    }

    /// What is to be written at `now` when the peer has sent a datagram, `known` being what is known of it. None if
    /// that is as good.
    #[inline(always)]
    pub const fn heard(known: Option<Self>, now: u64) -> Option<Self> {
        match known {
            Some(peer) if now.wrapping_sub(peer.time) < Self::RENEWAL => None,
            // For as long as it goes on answering, it was asked.
            Some(peer) if now.wrapping_sub(peer.time) < Self::LIFETIME => Some(Self { time: now, ..peer }),
            _ => Some(Self {
                time: now,
                is_asked: 0,
            }),
        }
    }

    /// What is to be written at `now` when a rule has allowed a datagram to the peer. Who has sent first stays somebody
    /// to answer.
    #[inline(always)]
    pub const fn asked(known: Option<Self>, now: u64) -> Option<Self> {
        match known {
            Some(peer) if peer.may_be_answered(now) => None,
            Some(peer) if peer.is_asked != 0 && now.wrapping_sub(peer.time) < Self::RENEWAL => None,
            _ => Some(Self {
                time: now,
                is_asked: 1,
            }),
        }
    }
}

/// Whose share of events it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShareKey {
    /// The workload's cgroup, or [`Share::UNKNOWN`].
    pub workload: CgroupId,
    /// A [`Talk`]: what one kind of call uses up is not taken from another.
    pub talk: u64,
}

/// Kinds of calls that events tell of.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Connections.
    Tcp = 1,
    /// Datagrams.
    Udp = 2,
    /// `connect()` of datagram sockets, which sends nothing: resolver libraries sort addresses by it.
    Probe = 3,
    /// Sockets, options and packets.
    Other = 4,
}

/// How many events a workload has caused.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The period that `told` counts in: time since boot divided by [`Share::PERIOD`].
    pub period: u64,
    /// Events that were told in that period.
    pub told: u64,
    /// Events that were not told, in all.
    pub untold: u64,
}

impl Share {
    /// Nanoseconds of a period, about a second.
    pub const PERIOD: u64 = 1 << 30;
    /// Events that one workload may cause in a period.
    pub const LIMIT: u64 = 200;
    /// The workload in whose name all unknown ones share.
    pub const UNKNOWN: CgroupId = CgroupId(0);
}

const _: () = assert!(
    size_of::<PeerKey>() == 32
        && size_of::<Peer>() == 16
        && size_of::<ShareKey>() == 16
        && size_of::<Share>() == 24
);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn who_has_sent_may_be_answered_for_minutes() {
        let peer = Peer::heard(None, SECOND).unwrap();
        assert!(peer.may_be_answered(SECOND) && peer.may_be_answered(180 * SECOND));
        assert!(!peer.may_be_answered(181 * SECOND));
        assert_eq!(
            Peer::heard(Some(peer), 2 * SECOND),
            None,
            "it is written once in a while"
        );
        let again = Peer::heard(Some(peer), 100 * SECOND).unwrap();
        assert!(again.may_be_answered(200 * SECOND));
    }

    #[test]
    fn who_was_asked_is_not_answered() {
        let asked = Peer::asked(None, SECOND).unwrap();
        assert!(!asked.may_be_answered(SECOND));
        let answered = Peer::heard(Some(asked), 20 * SECOND).unwrap();
        assert!(
            !answered.may_be_answered(20 * SECOND),
            "an answer is nothing to answer"
        );
        let later = Peer::heard(Some(answered), 300 * SECOND).unwrap();
        assert!(
            later.may_be_answered(300 * SECOND),
            "silent for minutes, it begins anew"
        );
        let client = Peer::heard(None, SECOND).unwrap();
        assert_eq!(Peer::asked(Some(client), 2 * SECOND), None, "it has sent first");
    }
}
