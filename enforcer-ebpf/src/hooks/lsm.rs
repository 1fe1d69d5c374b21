//! Covers what no cgroup program sees: sockets of families that have no hook there, and sockets that were
//! created in another cgroup than the task's.
//!
//! These programs run for every task of the machine. They allow everything that a task outside the enforced
//! roots does, and everything that a task does with sockets of its own cgroup, which the cgroup programs
//! judge. So legitimate calls get the same result with and without these programs.

mod answers;
mod loopback;
mod options;
mod socket;

use core::{ffi::c_void, ptr::read_volatile};

use aya_ebpf::{helpers::bpf_probe_read_kernel, programs::LsmContext};
use enforcer_common::{Address, Hook, Reason, Transport, Verdict, is_loopback, target};

use crate::{
    emit::{self, Call},
    hooks::{self, address},
    layout::{Control, FileAddress},
    maps,
    workload::{self, Workload},
};
use socket::{AF_UNSPEC, INET, INET6, Seen, Socket};

pub(crate) use answers::receive;
pub(crate) use options::setsockopt;

const PROCEED: i32 = 0;
/// The result for a socket that is refused because of its kind.
const EPERM: i32 = -1;
/// The result for a socket that is connected already.
const EISCONN: i32 = -106;

/// The beginning of the kernel's `struct msghdr`.
#[repr(C)]
struct Message {
    name: *const c_void,
    name_length: i32,
}

/// `struct sockaddr_in` and `struct sockaddr_in6` up to the end of their addresses. The kernel copies the
/// caller's name into 128 bytes of its own.
#[repr(C)]
#[derive(Clone, Copy)]
struct Name {
    family: u16,
    port: [u8; 2],
    v4: [u8; 4],
    v6: [u8; 16],
}

/// `socket()`: `family`, `type`, `protocol`, and whether the kernel creates it for itself.
#[inline(always)]
pub(crate) fn create(ctx: &LsmContext) -> i32 {
    let (family, kind, protocol, kernel): (i32, i32, i32, i32) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    if kernel != 0 || enforcer_common::socket::admits_family(maps::sockets(), family as u32) {
        return PROCEED;
    }
    let Some(workload) = workload::enforced() else {
        return PROCEED;
    };
    refuse_kind(Call {
        hook: Hook::LsmCreate,
        protocol: protocol as u8,
        family: family as u8,
        kind: kind as u8,
        address: Address::UNSPECIFIED,
        port: [0; 2],
        workload,
    })
}

/// Refuses a socket because of its kind.
#[inline(always)]
fn refuse_kind(call: Call) -> i32 {
    let outcome = hooks::refusal(&call.workload, Reason::SocketKind);
    emit::count(&call.workload, outcome);
    if outcome.is_reported() {
        emit::tell(&call, outcome.to_number());
    }
    code(outcome.verdict, EPERM)
}

/// `connect()`: the socket, the address and its length.
#[inline(always)]
pub(crate) fn connect(ctx: &LsmContext) -> i32 {
    let (socket, name): (*const Socket, *const c_void) = (ctx.arg(0), ctx.arg(1));
    let seen = Seen::of(socket);
    if seen.is_nobodys_business() {
        return PROCEED;
    }
    let Some(workload) = workload::enforced() else {
        return PROCEED;
    };
    let Some(transport) = seen.transport() else {
        return refuse_kind(seen.call(Hook::LsmConnect, workload));
    };
    let Some(name) = Name::read(name) else {
        return unreadable(&workload);
    };
    if name.family == AF_UNSPEC {
        // This disconnects the socket.
        return PROCEED;
    }
    let to = To {
        address: name.target(&seen),
        port: name.port,
        control: Control::NONE,
    };
    destination(&seen, transport, seen.call(Hook::LsmConnect, workload), to)
}

/// `sendmsg()`: the socket and the message. Sockets of a kind that is not admitted are refused on every call,
/// whether they were borrowed or are older than enforcement.
#[inline(always)]
pub(crate) fn sendmsg(ctx: &LsmContext) -> i32 {
    let (socket, message): (*const Socket, *const Message) = (ctx.arg(0), ctx.arg(1));
    let seen = Seen::of(socket);
    if seen.is_nobodys_business() {
        return PROCEED;
    }
    // SAFETY: the kernel gives a valid `struct msghdr`.
    let name = unsafe { read_volatile(&raw const (*message).name) };
    // A name connects a TCP socket if the first data goes with it (Fast Open), and is ignored otherwise. A
    // borrowed socket may have been connected or accepted; accepted ones need no verdict, but the two cannot
    // be told apart.
    if matches!(seen.transport(), Some(Transport::Tcp))
        && (name.is_null() || !Control::is_fast_open(message as u64))
    {
        return PROCEED;
    }
    let Some(workload) = workload::enforced() else {
        return PROCEED;
    };
    let Some(transport) = seen.transport() else {
        return refuse_kind(seen.call(Hook::LsmSendmsg, workload));
    };
    let control = Control::of(message as u64);
    let to = if name.is_null() {
        To::peer(&seen, control)
    } else {
        // An IPv6 socket ignores a name without a family (`udpv6_sendmsg`). The kernel then treats an IPv4
        // address that the socket is connected to as IPv6 and routes it so: no rule covers that destination.
        let is_stray = |name: &Name| seen.family == INET6 && name.family == AF_UNSPEC;
        let Some(name) = Name::read(name).filter(|name| !is_stray(name)) else {
            return unreadable(&workload);
        };
        To {
            address: name.target(&seen),
            port: name.port,
            control,
        }
    };
    destination(&seen, transport, seen.call(Hook::LsmSendmsg, workload), to)
}

/// Data for a file: the file and the requested access. Kernels that hand pages to sockets (before 6.5) call
/// no other hook for `splice()` and `sendfile()`.
#[inline(always)]
pub(crate) fn splice(ctx: &LsmContext) -> i32 {
    /// `MAY_WRITE`.
    const WRITE: i32 = 2;
    let (file, access): (*const c_void, i32) = (ctx.arg(0), ctx.arg(1));
    if access & WRITE == 0 {
        return PROCEED;
    }
    let Some(seen) = Seen::of_file(FileAddress(file as u64)) else {
        return PROCEED;
    };
    // A stream's data goes to its peer. Whether the stream was connected or accepted cannot be told.
    if !seen.is_inet() || matches!(seen.transport(), Some(Transport::Tcp)) || seen.is_nobodys_business() {
        return PROCEED;
    }
    let Some(workload) = workload::enforced() else {
        return PROCEED;
    };
    let call = seen.call(Hook::LsmSendmsg, workload);
    match seen.transport() {
        None => refuse_kind(call),
        Some(transport) => destination(&seen, transport, call, To::peer(&seen, Control::NONE)),
    }
}

/// The destination of a borrowed socket's data.
struct To {
    address: Address,
    /// Network byte order; 0 with no address means no peer.
    port: [u8; 2],
    control: Control,
}

impl To {
    /// The peer that the socket is connected to.
    #[inline(always)]
    fn peer(seen: &Seen, control: Control) -> Self {
        Self {
            address: if seen.family == INET {
                seen.sock.peer4()
            } else {
                seen.sock.peer6()
            },
            port: seen.sock.peer_port(),
            control,
        }
    }
}

impl Name {
    #[inline(always)]
    fn read(name: *const c_void) -> Option<Self> {
        // SAFETY: the helper checks the address itself.
        unsafe { bpf_probe_read_kernel(name.cast::<Self>()) }.ok()
    }

    /// The destination to which the kernel sends for this name.
    #[inline(always)]
    fn target(&self, seen: &Seen) -> Address {
        // A datagram from an IPv4 socket may omit the family (`udp_sendmsg`).
        let address = if seen.family == INET || self.family == INET {
            Address::from_v4(self.v4)
        } else {
            Address::from_v6(self.v6)
        };
        target(address, seen.sock.source4())
    }
}

/// Decides on the destination that a borrowed socket sends or connects to. This program sends the event
/// itself, since the socket's own cgroup may not have our programs. If it has, the daemon merges the two
/// events.
#[inline(always)]
fn destination(seen: &Seen, transport: Transport, call: Call, to: To) -> i32 {
    let is_corked = seen.is_corked();
    // Nothing can be sent to a name with port 0, but a datagram socket can be connected to it.
    let is_nobody = to.port[0] == 0
        && to.port[1] == 0
        && (to.address.is(&Address::UNSPECIFIED) || to.address.is(&Address::UNSPECIFIED_V4));
    if is_nobody && !is_corked {
        // The kernel itself refuses.
        return PROCEED;
    }
    let call = Call {
        address: to.address,
        port: to.port,
        workload: call.workload.to(&to.address),
        ..call
    };
    let outcome = if is_corked {
        // Pending data goes to the destination that another caller has named, and new data is appended to it.
        hooks::refusal(&call.workload, Reason::Reroute)
    } else if options::reroute(seen, &to.control) {
        hooks::refusal(&call.workload, Reason::Reroute)
    } else if !is_loopback(&call.address) {
        address::judge_apart(transport, &call, || {
            answers::is_answer(seen.sock, call.address, call.port)
        })
    } else if loopback::stays(seen, &to.control) {
        return PROCEED;
    } else {
        hooks::refusal(&call.workload, Reason::Device)
    };
    if matches!(transport, Transport::Tcp)
        && !seen.is_unconnected()
        && matches!(outcome.verdict, Verdict::Deny)
    {
        // The result that the kernel would give, without an event. The check is not left to the kernel,
        // because another thread may be disconnecting the socket.
        return EISCONN;
    }
    if matches!(outcome.verdict, Verdict::Deny) {
        emit::count(&call.workload, outcome);
    } else if matches!(transport, Transport::Udp) && !matches!(outcome.reason, Reason::Answer) {
        answers::asked(seen.sock, call.address, call.port, call.workload.cgroup);
    }
    if !matches!(outcome.verdict, Verdict::Allow) {
        emit::tell(&call, outcome.to_number());
    }
    code(outcome.verdict, emit::errno_to_return())
}

/// Refuses what the helper cannot read and what no rule covers.
#[inline(always)]
fn unreadable(workload: &Workload) -> i32 {
    code(hooks::refusal(workload, Reason::NoRule).verdict, EPERM)
}

#[inline(always)]
fn code(verdict: Verdict, errno: i32) -> i32 {
    match verdict {
        Verdict::Allow | Verdict::Audit => PROCEED,
        Verdict::Deny => errno,
    }
}
