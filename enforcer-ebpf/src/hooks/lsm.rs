//! What no cgroup program sees: sockets of families that have no hook there, and sockets that were born in another
//! cgroup than the task's.
//!
//! These programs run for every task of the machine. They let go on whatever a task does that is not below an
//! enforced root, and only ever refuse: what they let go on is told and counted by the cgroup programs, if they see
//! it. What is only refused on trial is told by both.

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_probe_read_kernel},
    programs::LsmContext,
};
use enforcer_common::{Address, Hook, Reason, Transport, Verdict, socket};

use crate::{
    emit::{self, Call, Caller},
    hooks::{self, address},
    layout::SockAddress,
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

/// What the kernel keeps of a socket.
#[derive(Clone, Copy)]
struct Seen {
    kind: u32,
    family: u16,
    protocol: u32,
    sock: SockAddress,
}

impl Seen {
    #[inline(always)]
    fn of(socket: *const Socket) -> Self {
        // SAFETY: the kernel gives a valid `struct socket`.
        let (kind, sock) = unsafe {
            (
                read_volatile(&raw const (*socket).kind),
                read_volatile(&raw const (*socket).sock),
            )
        };
        let mut seen = Self {
            kind: kind as u32,
            family: AF_UNSPEC,
            protocol: 0,
            sock: SockAddress(0),
        };
        // Verifiers from 6.12 on ask for this, although a socket that is called has its `struct sock`.
        if !sock.is_null() {
            // SAFETY: it is not null and lives with the socket.
            seen.family = unsafe { read_volatile(&raw const (*sock).family) };
            seen.sock = SockAddress(sock as u64);
        }
        if seen.is_inet() {
            seen.protocol = seen.sock.protocol();
        }
        seen
    }

    #[inline(always)]
    fn is_inet(&self) -> bool {
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

    /// What rules can speak of.
    #[inline(always)]
    fn transport(&self) -> Option<Transport> {
        if self.is_inet() {
            socket::transport(self.kind, self.protocol)
        } else {
            None
        }
    }

    #[inline(always)]
    fn refuse(&self, hook: Hook) -> i32 {
        refuse_kind(hook, self.family as u8, self.kind as u8, self.protocol as u8)
    }
}

/// `connect()`: the socket, the address and its length.
#[inline(always)]
pub(crate) fn connect(ctx: &LsmContext) -> i32 {
    let (socket, name): (*const Socket, *const c_void) = (ctx.arg(0), ctx.arg(1));
    let seen = Seen::of(socket);
    if !seen.is_admitted() {
        return seen.refuse(Hook::LsmConnect);
    }
    match seen.transport() {
        Some(transport) => destination(&seen, transport, name, Hook::LsmConnect),
        None => PROCEED,
    }
}

/// `sendmsg()`: the socket and the message. Sockets that are not admitted, lent or older than enforcement, are
/// refused each time.
#[inline(always)]
pub(crate) fn sendmsg(ctx: &LsmContext) -> i32 {
    let (socket, message): (*const Socket, *const Message) = (ctx.arg(0), ctx.arg(1));
    let seen = Seen::of(socket);
    if !seen.is_admitted() {
        return seen.refuse(Hook::LsmSendmsg);
    }
    let Some(transport) = seen.transport() else {
        return PROCEED;
    };
    // SAFETY: the kernel gives a valid `struct msghdr`.
    let name = unsafe { read_volatile(&raw const (*message).name) };
    if !name.is_null() {
        return destination(&seen, transport, name, Hook::LsmSendmsg);
    }
    match transport {
        // Whoever connected was judged then. Whether a socket that was lent was connected or accepted, which is
        // nothing to judge, cannot be told.
        Transport::Tcp => PROCEED,
        Transport::Udp => peer(&seen),
    }
}

/// A datagram to whom the socket is connected to. That was judged when it was connected, if it was from here: in the
/// cgroup of the socket, which is asked first and costs the least.
#[inline(always)]
fn peer(seen: &Seen) -> i32 {
    // SAFETY: the helper has no precondition.
    if seen.sock.birthplace().0 == unsafe { bpf_get_current_cgroup_id() } {
        return PROCEED;
    }
    let port = seen.sock.peer_port();
    if port[0] == 0 && port[1] == 0 {
        // Connected to nobody: the kernel itself refuses.
        return PROCEED;
    }
    let address = if seen.family == INET {
        seen.sock.peer4()
    } else {
        seen.sock.peer6()
    };
    let workload = workload::current();
    if !is_enforced(&workload) {
        return PROCEED;
    }
    let call = seen.call(Hook::LsmSendmsg, (address, port), workload);
    judge(Transport::Udp, &call)
}

/// A call with an address.
#[inline(always)]
fn destination(seen: &Seen, transport: Transport, name: *const c_void, hook: Hook) -> i32 {
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
    let address = if seen.family == INET || name.family == INET {
        Address::from_v4(name.v4)
    } else {
        Address::from_v6(name.v6)
    };
    let call = seen.call(hook, (address, name.port), workload);
    judge(transport, &call)
}

impl Seen {
    #[inline(always)]
    fn call(&self, hook: Hook, to: (Address, [u8; 2]), workload: Workload) -> Call {
        Call {
            hook,
            protocol: self.transport().map_or(0, |transport| transport as u8),
            family: self.family as u8,
            kind: self.kind as u8,
            address: to.0,
            port: to.1,
            workload,
        }
    }
}

/// Decides again. What is let through on trial is told here too: nobody else sees a socket from outside. Of all others
/// the cgroup programs tell, and count; the daemon takes the two for one.
#[inline(always)]
fn judge(transport: Transport, call: &Call) -> i32 {
    let outcome = address::judge(Some(transport), call);
    if matches!(outcome.verdict, Verdict::Deny) {
        emit::count(outcome.verdict);
    }
    if !matches!(outcome.verdict, Verdict::Allow) {
        emit::event(call, Caller::current(), outcome);
    }
    code(outcome.verdict, emit::errno_to_return())
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
