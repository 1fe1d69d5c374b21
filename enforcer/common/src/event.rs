//! Events that the programs send to the daemon.

use crate::{Address, CgroupId, Policy, PolicyId};

/// Bytes of a task's name in the kernel (`TASK_COMM_LEN`).
pub const COMM_LENGTH: usize = 16;

/// The place in the kernel where a verdict was made.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// `connect()` of an IPv4 socket.
    Connect4 = 1,
    /// `connect()` of an IPv6 socket.
    Connect6 = 2,
    /// A datagram from an IPv4 socket that is not connected.
    Sendmsg4 = 3,
    /// A datagram from an IPv6 socket that is not connected.
    Sendmsg6 = 4,
    /// `socket()` of an IPv4 or IPv6 socket.
    SockCreate = 5,
    /// `setsockopt()`.
    Setsockopt = 6,
    /// An outgoing packet.
    Egress = 7,
    /// `socket()` of any family (BPF LSM).
    LsmCreate = 8,
    /// `connect()`, in the calling task's context (BPF LSM).
    LsmConnect = 9,
    /// A datagram, in the calling task's context (BPF LSM).
    LsmSendmsg = 10,
}

/// From its number; returns the number as the error if it is invalid.
impl TryFrom<u8> for Hook {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        Ok(match number {
            1 => Self::Connect4,
            2 => Self::Connect6,
            3 => Self::Sendmsg4,
            4 => Self::Sendmsg6,
            5 => Self::SockCreate,
            6 => Self::Setsockopt,
            7 => Self::Egress,
            8 => Self::LsmCreate,
            9 => Self::LsmConnect,
            10 => Self::LsmSendmsg,
            other => return Err(other),
        })
    }
}

/// A verdict to report: refused, would be refused, or unregistered.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds since boot, suspended time not counted (`bpf_ktime_get_ns`).
    pub time: u64,
    /// The workload's cgroup; the calling task's own cgroup if it belongs to no known workload.
    pub cgroup: CgroupId,
    /// The destination; unspecified where the call has none.
    pub address: Address,
    /// Name of the calling task, padded with zero bytes; empty for a packet, which has none.
    pub comm: [u8; COMM_LENGTH],
    /// Process id in the initial namespace.
    pub pid: u32,
    /// User id in the initial namespace.
    pub uid: u32,
    /// The policy that decided, or 0.
    pub policy: PolicyId,
    /// Network byte order.
    pub port: [u8; 2],
    /// A [`crate::Transport`], or the low byte of another IP protocol's number.
    pub transport: u8,
    /// A [`Hook`].
    pub hook: u8,
    /// A [`crate::Verdict`].
    pub verdict: u8,
    /// A [`crate::Reason`].
    pub reason: u8,
    /// The socket's family; for a socket option its level.
    pub family: u8,
    /// The socket's type; for a socket option its number.
    pub kind: u8,
    /// Always zero.
    pub pad: [u8; 4],
}

const _: () = assert!(size_of::<Event>() == 72 && size_of::<Policy>() == 16);

impl Event {
    /// Bytes of an event in the ring buffer.
    pub const SIZE: usize = size_of::<Self>();

    /// Reads what the kernel wrote; None if it is too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, bytes) = bytes.split_first_chunk()?;
        let (cgroup, bytes) = bytes.split_first_chunk()?;
        let (address, bytes) = bytes.split_first_chunk()?;
        let (comm, bytes) = bytes.split_first_chunk()?;
        let (pid, bytes) = bytes.split_first_chunk()?;
        let (uid, bytes) = bytes.split_first_chunk()?;
        let (policy, bytes) = bytes.split_first_chunk()?;
        let (port, bytes) = bytes.split_first_chunk()?;
        let ([transport, hook, verdict, reason, family, kind, ..], _) = bytes.split_first_chunk::<10>()?;
        Some(Self {
            time: u64::from_ne_bytes(*time),
            cgroup: CgroupId(u64::from_ne_bytes(*cgroup)),
            address: Address(*address),
            comm: *comm,
            pid: u32::from_ne_bytes(*pid),
            uid: u32::from_ne_bytes(*uid),
            policy: PolicyId(u32::from_ne_bytes(*policy)),
            port: *port,
            transport: *transport,
            hook: *hook,
            verdict: *verdict,
            reason: *reason,
            family: *family,
            kind: *kind,
            pad: [0; 4],
        })
    }
}

/// Index into the per-CPU counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counter {
    /// Events that did not fit the ring buffer.
    Lost = 0,
    /// Answers from which addresses were learned, or would have been.
    Answers = 1,
    /// Addresses that were replaced by newer ones of the same workload before they had expired.
    Displaced = 2,
    /// Answers that match no question: from a server that is not trusted, to another socket, with another number or
    /// for another question.
    Unasked = 3,
    /// Answers that are malformed, or contain something that the parser does not support.
    Malformed = 4,
    /// Answers that are truncated, or longer than the parser supports.
    Oversized = 5,
    /// Addresses that were not learned because they are protected.
    Protected = 6,
    /// Addresses or questions for which the maps had no room.
    Unlearned = 7,
    /// Flows to a loopback address, whose workload is not looked for.
    Loopback = 8,
    /// Flows of sockets of a kind that is opted in, whose workload is not looked for.
    OptedIn = 9,
}

impl Counter {
    /// Number of counters.
    pub const COUNT: u32 = 10;
}
