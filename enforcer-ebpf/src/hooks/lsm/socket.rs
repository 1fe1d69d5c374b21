//! A socket as the kernel represents it, and the checks on it.

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use enforcer_common::{Address, Hook, Transport, socket};

use crate::{
    emit::Call,
    layout::{FileAddress, SockAddress},
    maps,
    workload::Workload,
};

pub(super) const AF_UNSPEC: u16 = 0;
pub(super) const INET: u16 = socket::AF_INET as u16;
pub(super) const INET6: u16 = socket::AF_INET6 as u16;

/// `SS_UNCONNECTED` of `socket_state`.
const UNCONNECTED: u32 = 1;

/// The beginning of the kernel's `struct socket`, which is the same from 5.10 on. The verifier checks reads
/// against the kernel's own types, and refuses the program if they differ.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Socket {
    state: u32,
    kind: i16,
    flags: u64,
    file: *const c_void,
    sock: *const Sock,
}

/// The beginning of the kernel's `struct sock_common`.
#[repr(C)]
struct Sock {
    addresses: u64,
    hash: u32,
    ports: u32,
    family: u16,
}

/// The fields of a socket that the kernel keeps.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    kind: u32,
    pub(super) family: u16,
    protocol: u32,
    pub(super) sock: SockAddress,
    /// A `socket_state`.
    state: u32,
}

impl Seen {
    /// The socket of a file; None if it is none.
    #[inline(always)]
    pub(super) fn of_file(file: FileAddress) -> Option<Self> {
        let socket = file.socket::<Socket>()?;
        let sock = SockAddress(socket.sock as u64);
        let mut seen = Self {
            kind: socket.kind as u32,
            family: sock.family(),
            protocol: 0,
            sock,
            state: socket.state,
        };
        if seen.is_inet() {
            seen.protocol = sock.protocol();
        }
        Some(seen)
    }

    /// A UDP socket of which only the `struct sock` is known.
    #[inline(always)]
    pub(super) fn of_sock(sock: SockAddress) -> Self {
        Self {
            kind: socket::DATAGRAM,
            family: sock.family(),
            protocol: sock.protocol(),
            sock,
            state: UNCONNECTED,
        }
    }

    /// Whether it is connected to a peer.
    #[inline(always)]
    pub(super) fn is_connected(&self) -> bool {
        self.sock.peer_port() != [0; 2]
    }

    #[inline(always)]
    pub(super) fn of(socket: *const Socket) -> Self {
        // SAFETY: the kernel gives a valid `struct socket`.
        let (state, kind, sock) = unsafe {
            (
                read_volatile(&raw const (*socket).state),
                read_volatile(&raw const (*socket).kind),
                read_volatile(&raw const (*socket).sock),
            )
        };
        let mut seen = Self {
            kind: kind as u32,
            family: AF_UNSPEC,
            protocol: 0,
            sock: SockAddress(0),
            state,
        };
        // Verifiers from 6.12 on require this check, although a socket in a call always has its `struct
        // sock`.
        if !sock.is_null() {
            // SAFETY: it is not null and lives as long as the socket.
            seen.family = unsafe { read_volatile(&raw const (*sock).family) };
            seen.sock = SockAddress(sock as u64);
        }
        if seen.is_inet() {
            seen.protocol = seen.sock.protocol();
        }
        seen
    }

    #[inline(always)]
    pub(super) fn is_inet(&self) -> bool {
        self.family == INET || self.family == INET6
    }

    /// Whether an enforced workload may use a socket of this kind at all.
    #[inline(always)]
    fn is_admitted(&self) -> bool {
        if self.is_inet() {
            socket::admits(maps::sockets(), self.kind, self.protocol)
        } else {
            socket::admits_family(maps::sockets(), u32::from(self.family))
        }
    }

    /// The transport, if rules can cover it.
    #[inline(always)]
    pub(super) fn transport(&self) -> Option<Transport> {
        if self.is_inet() {
            socket::transport(self.kind, self.protocol)
        } else {
            None
        }
    }

    /// Whether any process may use it, or it was created in the calling task's cgroup, whose programs see its
    /// traffic.
    #[inline(always)]
    pub(super) fn is_nobodys_business(&self) -> bool {
        match self.transport() {
            None => self.is_admitted(),
            // SAFETY: the helper has no precondition.
            Some(_) => self.sock.birthplace().0 == unsafe { bpf_get_current_cgroup_id() },
        }
    }

    /// Whether it is neither connected nor connecting.
    #[inline(always)]
    pub(super) fn is_unconnected(&self) -> bool {
        self.state == UNCONNECTED
    }

    /// Whether it has pending data for a destination that was named with that data.
    #[inline(always)]
    pub(super) fn is_corked(&self) -> bool {
        self.kind == socket::DATAGRAM && self.sock.is_corked()
    }

    /// A workload's call on this socket, without a destination yet.
    #[inline(always)]
    pub(super) fn call(&self, hook: Hook, workload: Workload) -> Call {
        Call {
            hook,
            protocol: self.protocol as u8,
            family: self.family as u8,
            kind: self.kind as u8,
            address: Address::UNSPECIFIED,
            port: [0; 2],
            workload,
        }
    }
}
