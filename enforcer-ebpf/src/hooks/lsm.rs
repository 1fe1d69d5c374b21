//! What no cgroup program sees: sockets of families that have no hook there, and sockets that were born in another
//! cgroup than the task's.
//!
//! These programs run for every task of the machine. They let go on whatever a task does that is not below an
//! enforced root, and only ever refuse: what they let go on is told and counted by the cgroup programs, if they see
//! it. What is only refused on trial is told by both.

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::{helpers::bpf_probe_read_kernel, programs::LsmContext};
use enforcer_common::{Address, Hook, Reason, Transport, Verdict, socket};

use crate::{
    emit::{self, Call, Caller},
    hooks::{self, address},
    maps,
    workload::{self, Workload},
};

const PROCEED: i32 = 0;
/// What a socket that is refused for its kind returns.
const EPERM: i32 = -1;

const AF_UNSPEC: u16 = 0;
const INET: u16 = socket::AF_INET as u16;
const INET6: u16 = socket::AF_INET6 as u16;

/// The beginning of the kernel's `struct socket`, which is the same from 5.10 on. The verifier reads it by the
/// kernel's own types: it refuses the program where they differ.
#[repr(C)]
struct Socket {
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

/// The beginning of the kernel's `struct msghdr`.
#[repr(C)]
struct Message {
    name: *const c_void,
    name_length: i32,
}

/// `struct sockaddr_in` and `struct sockaddr_in6` up to where their addresses end. The kernel keeps whatever the
/// caller gave in 128 bytes of its own.
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    family: u16,
    port: [u8; 2],
    v4: [u8; 4],
    v6: [u8; 16],
}

/// `socket()`: `family`, `type`, `protocol`, and whether the kernel makes it for itself.
#[inline(always)]
pub(crate) fn create(ctx: &LsmContext) -> i32 {
    let (family, kind, protocol, kernel): (i32, i32, i32, i32) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    if kernel != 0 || socket::admits_family(maps::sockets(), family as u32) {
        return PROCEED;
    }
    refuse_kind(Hook::LsmCreate, family as u8, kind as u8, protocol as u8)
}

/// Refuses an enforced task's socket for what it is.
#[inline(always)]
fn refuse_kind(hook: Hook, family: u8, kind: u8, protocol: u8) -> i32 {
    let workload = workload::current();
    if !is_enforced(&workload) {
        return PROCEED;
    }
    let outcome = hooks::refusal(&workload, Reason::SocketKind);
    emit::count(outcome.verdict);
    if outcome.is_reported() {
        let call = Call {
            hook,
            protocol,
            family,
            kind,
            address: Address([0; 16]),
            port: [0; 2],
            workload,
        };
        emit::event(&call, Caller::current(), outcome);
    }
    code(outcome.verdict, EPERM)
}

/// The socket's type and family.
#[inline(always)]
fn kind_and_family(socket: *const Socket) -> (i16, u16) {
    // SAFETY: the kernel gives a valid `struct socket`.
    let (kind, sock) = unsafe {
        (
            read_volatile(&raw const (*socket).kind),
            read_volatile(&raw const (*socket).sock),
        )
    };
    // Verifiers from 6.12 on ask for this, although a socket that is called has its `struct sock`.
    if sock.is_null() {
        return (kind, AF_UNSPEC);
    }
    // SAFETY: it is not null and lives with the socket.
    (kind, unsafe { read_volatile(&raw const (*sock).family) })
}

/// `connect()`: the socket, the address and its length.
#[inline(always)]
pub(crate) fn connect(ctx: &LsmContext) -> i32 {
    destination(ctx.arg(0), ctx.arg(1), Hook::LsmConnect)
}

/// `sendmsg()`: the socket and the message. Without a name it goes where the socket is connected to, which was
/// decided then. Sockets that need no connection, lent or older than enforcement, are refused each time.
#[inline(always)]
pub(crate) fn sendmsg(ctx: &LsmContext) -> i32 {
    let (socket, message): (*const Socket, *const Message) = (ctx.arg(0), ctx.arg(1));
    // SAFETY: the kernel gives a valid `struct msghdr`.
    let name = unsafe { read_volatile(&raw const (*message).name) };
    let (kind, family) = kind_and_family(socket);
    let is_inet = family == INET || family == INET6;
    let is_raw = kind as u32 == socket::RAW_TYPE;
    let admitted = if is_inet && is_raw {
        maps::sockets() & socket::RAW != 0
    } else {
        socket::admits_family(maps::sockets(), family as u32)
    };
    if !admitted {
        return refuse_kind(Hook::LsmSendmsg, family as u8, kind as u8, 0);
    }
    if !is_inet || is_raw || name.is_null() {
        return PROCEED;
    }
    destination(socket, name, Hook::LsmSendmsg)
}

#[inline(always)]
fn destination(socket: *const Socket, name: *const c_void, hook: Hook) -> i32 {
    let (kind, family) = kind_and_family(socket);
    if family != INET && family != INET6 {
        return PROCEED;
    }
    if is_opted_in(kind as u32) {
        return PROCEED;
    }
    let workload = workload::current();
    if !is_enforced(&workload) {
        return PROCEED;
    }
    // SAFETY: the helper checks the address itself.
    let Ok(name) = (unsafe { bpf_probe_read_kernel(name.cast::<Name>()) }) else {
        return code(
            hooks::refusal(&workload, Reason::NoRule).verdict,
            emit::errno_to_return(),
        );
    };
    if name.family == AF_UNSPEC && matches!(hook, Hook::LsmConnect) {
        // Takes a connection apart.
        return PROCEED;
    }
    // A datagram from an IPv4 socket needs no family (`udp_sendmsg`).
    let address = if family == INET || name.family == INET {
        Address::from_v4(name.v4)
    } else {
        Address::from_v6(name.v6)
    };
    let transport = match kind as u32 {
        socket::STREAM => Some(Transport::Tcp),
        socket::DATAGRAM => Some(Transport::Udp),
        _ => None,
    };
    let call = Call {
        hook,
        protocol: match transport {
            Some(transport) => transport as u8,
            None => 0,
        },
        family: family as u8,
        kind: kind as u8,
        address,
        port: name.port,
        workload,
    };
    let outcome = address::judge(transport, &call);
    if matches!(outcome.verdict, Verdict::Deny) {
        emit::count(outcome.verdict);
    }
    // What is let through on trial is told here too: nobody else sees a socket from outside. Of all others the cgroup
    // programs tell, and count; the daemon takes the two for one.
    if !matches!(outcome.verdict, Verdict::Allow) {
        emit::event(&call, Caller::current(), outcome);
    }
    code(outcome.verdict, emit::errno_to_return())
}

/// Whether a socket of this type can be of a kind that is opted in. Where the kernel keeps a socket's protocol
/// differs between versions, so that its type has to tell: an opt-in opens this program to all of its type.
#[inline(always)]
fn is_opted_in(kind: u32) -> bool {
    let bits = match kind {
        socket::STREAM => socket::SCTP,
        socket::DATAGRAM => socket::ICMP | socket::UDPLITE,
        socket::RAW_TYPE => socket::RAW,
        _ => socket::SCTP,
    };
    maps::sockets() & bits != 0
}

/// Whether the task is a workload's, or an unknown one below an enforced root.
#[inline(always)]
fn is_enforced(workload: &Workload) -> bool {
    workload.policy().is_some() || workload::is_below_root()
}

#[inline(always)]
fn code(verdict: Verdict, errno: i32) -> i32 {
    match verdict {
        Verdict::Allow | Verdict::Audit => PROCEED,
        Verdict::Deny => errno,
    }
}
