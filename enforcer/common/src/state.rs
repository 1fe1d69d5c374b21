//! State that the programs keep between calls: of sockets, of their peers, and of the events that were sent.

use crate::{Address, CgroupId};

/// Value of the sockets' storage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketState {
    /// Bits of the constants below.
    pub flags: u32,
    /// The low half of the cookie of the TCP socket that `socket()` has created; 0 if no program has seen that. The
    /// kernel copies the state of a listening socket to the accepted ones, so that theirs is the cookie of another
    /// socket.
    pub origin: u32,
    /// The halves of the address to which the last allowed `connect()` of a TCP socket was to go. Programs of others
    /// that run later may have sent it elsewhere: from a Service to a pod.
    pub to: [u64; 2],
    /// The port there, in network byte order; 0 if no such call was seen.
    pub port: u16,
    /// Of a datagram socket: the port of `asked`, in network byte order; 0 if there is none.
    pub asked_port: u16,
    /// When that was noted, in the kernel's ticks (`bpf_jiffies64`).
    pub asked_at: u32,
    /// The halves of the address of the last peer that was noted as asked: it need not be noted again at each datagram.
    pub asked: [u64; 2],
}

impl SocketState {
    /// A datagram socket that has sent to a loopback address: if its packets leave by another device, the kernel's
    /// NAT may have redirected them.
    pub const LOCAL: u32 = 1;
    /// A TCP socket whose `connect()` to a destination beyond loopback was allowed.
    pub const OUTWARD: u32 = 1 << 1;
    /// A datagram socket that is connected to a peer that had sent to it: a server's socket for one client.
    pub const ANSWERING: u32 = 1 << 2;
    /// A socket that may be bound to an address that is not the machine's.
    pub const FREE: u32 = 1 << 3;

    /// For how many ticks it is not looked up whether a peer was noted as asked: a tenth of a second to a second, as the
    /// kernel was configured (`CONFIG_HZ`). Not longer, because others may displace what was noted.
    pub const ASKED_TICKS: u32 = 100;
}

/// Somebody with whom a datagram socket exchanges datagrams: key of the peers that may be answered, and of those that were
/// asked. Each has two entries. A peer that may be answered has one of the socket, and one of its cgroup, network
/// namespace and port, since some servers answer each client from a socket of its own on the same port. One that was
/// asked has one of the socket and one of its workload, whose other sockets may get the answer. With port 0 it is no peer but an address of the machine
/// at which the socket was reached.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// The socket's cookie, or the identifier of the cgroup in which it was born.
    pub owner: u64,
    /// The socket's network namespace, as the kernel's number for it; 0 with a cookie.
    pub network: u64,
    /// The peer's address.
    pub address: Address,
    /// The peer's port in network byte order.
    pub port: [u8; 2],
    /// The socket's own port in the machine's byte order; 0 with a cookie.
    pub local_port: u16,
    /// [`PeerKey::OF_WORKLOAD`], or zero: the numbers of cookies and cgroups may be the same.
    pub kind: u32,
}

/// The identity of a socket for the entries that sockets on its port share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// The cgroup in which it was created.
    pub cgroup: CgroupId,
    /// Its network namespace; 0 if that is unknown, and nothing is shared.
    pub network: u64,
    /// Its port in the machine's byte order; 0 if it has none yet.
    pub port: u16,
}

impl PeerKey {
    /// The owner is the cgroup of a workload, whose sockets all are meant.
    pub const OF_WORKLOAD: u32 = 1;

    /// The key of the same peer for all sockets of a workload.
    #[inline(always)]
    pub const fn of_workload(&self, workload: CgroupId) -> Self {
        Self {
            owner: workload.0,
            network: 0,
            local_port: 0,
            kind: Self::OF_WORKLOAD,
            ..*self
        }
    }

    /// The key for one socket.
    #[inline(always)]
    pub const fn of_socket(cookie: u64, address: Address, port: [u8; 2]) -> Self {
        Self {
            owner: cookie,
            network: 0,
            address,
            port,
            local_port: 0,
            kind: 0,
        }
    }

    /// The key of the same peer for all sockets of a cgroup and a network namespace on one port; None if one of
    /// these is unknown.
    #[inline(always)]
    pub const fn of_port(&self, stand: Stand) -> Option<Self> {
        if stand.network == 0 || stand.port == 0 {
            return None;
        }
        Some(Self {
            owner: stand.cgroup.0,
            network: stand.network,
            local_port: stand.port,
            ..*self
        })
    }
}

/// When a peer was last active, in nanoseconds since boot (`bpf_ktime_get_ns`): value of the maps of peers.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard(pub u64);

impl Heard {
    /// How long it counts, in nanoseconds: at least as long as the kernel's connection tracking keeps a stream of
    /// datagrams.
    pub const LIFETIME: u64 = 180 * 1_000_000_000;
    /// The age at which it is written again, in nanoseconds.
    pub const RENEWAL: u64 = 10 * 1_000_000_000;

    /// Whether it still counts at `now`.
    #[inline(always)]
    pub const fn counts(self, now: u64) -> bool {
        now.wrapping_sub(self.0) < Self::LIFETIME
    }

    /// Whether it is too recent to be written again at `now`.
    #[inline(always)]
    pub const fn is_fresh(self, now: u64) -> bool {
        now.wrapping_sub(self.0) < Self::RENEWAL
    }
}

/// Key of a share of events.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShareKey {
    /// The workload's cgroup, or [`Share::UNKNOWN`].
    pub workload: CgroupId,
    /// A [`Talk`]: each kind of call has a share of its own.
    pub talk: u64,
}

/// Kinds of calls that events report.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// Connections.
    Tcp = 1,
    /// Datagrams.
    Udp = 2,
    /// `connect()` of datagram sockets, which sends nothing: resolver libraries use it to sort addresses.
    Probe = 3,
    /// Sockets, options and packets.
    Other = 4,
    /// No event: a destination that is seen and was not since the last time that was read.
    Seen = 5,
}

/// The number of events that a workload has caused.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The period that `told` counts in: time since boot divided by [`Share::PERIOD`].
    pub period: u64,
    /// Events that were sent in that period.
    pub told: u64,
    /// Events that were not sent, in total.
    pub untold: u64,
}

impl Share {
    /// Nanoseconds of a period, about a second.
    pub const PERIOD: u64 = 1 << 30;
    /// Events that one workload may cause in a period.
    pub const LIMIT: u64 = 200;
    /// Destinations that may be new of one workload in a period, of what was seen.
    pub const LIMIT_SEEN: u64 = 512;
    /// The workload under which all unknown ones share.
    pub const UNKNOWN: CgroupId = CgroupId(0);
}

const _: () = assert!(
    size_of::<PeerKey>() == 40
        && size_of::<Heard>() == 8
        && size_of::<ShareKey>() == 16
        && size_of::<Share>() == 24
);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_was_heard_counts_for_three_minutes_and_is_written_once_in_ten_seconds() {
        let heard = Heard(5 * SECOND);
        assert!(heard.counts(5 * SECOND) && heard.counts(184 * SECOND));
        assert!(!heard.counts(185 * SECOND));
        assert!(heard.is_fresh(14 * SECOND) && !heard.is_fresh(15 * SECOND));
    }

    #[test]
    fn nothing_is_shared_across_network_namespaces_or_without_a_port() {
        let key = PeerKey::of_socket(7, Address::LOOPBACK_V4, [1, 187]);
        let stand = Stand {
            cgroup: CgroupId(3),
            network: 9,
            port: 5000,
        };
        let shared = key.of_port(stand).unwrap();
        assert_ne!(Some(shared), key.of_port(Stand { network: 10, ..stand }));
        assert_ne!(
            Some(shared),
            key.of_port(Stand {
                cgroup: CgroupId(4),
                ..stand
            })
        );
        assert_eq!(key.of_port(Stand { network: 0, ..stand }), None);
        assert_eq!(key.of_port(Stand { port: 0, ..stand }), None);
        assert_ne!(shared, key);
    }
}
