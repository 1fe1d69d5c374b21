//! `socket()` of IPv4 and IPv6 sockets: allows only those whose traffic passes `connect` or `sendmsg`.

use core::ptr::read_volatile;

use aya_ebpf::programs::SockContext;
use enforcer_common::{Address, Hook, Reason, Transport, socket};

use crate::{
    emit::{self, Call},
    hooks, maps,
    sock::Sock,
    workload,
};

/// The whole of the program. The errno is always EPERM: the other configurable ones describe a destination,
/// and there is none here.
#[inline(always)]
pub(crate) fn verdict(ctx: &SockContext) -> i32 {
    let raw = ctx.sock;
    // SAFETY: the kernel gives a valid `bpf_sock` for the time of the call. Volatile, since the verifier takes
    // only whole aligned words here and the compiler would narrow them.
    let (family, kind, protocol) = unsafe {
        (
            read_volatile(&raw const (*raw).family),
            read_volatile(&raw const (*raw).type_),
            read_volatile(&raw const (*raw).protocol),
        )
    };
    if socket::admits(maps::sockets(), kind, protocol) {
        if matches!(socket::transport(kind, protocol), Some(Transport::Tcp)) {
            Sock::note_made(raw);
        }
        return hooks::PROCEED;
    }
    let workload = workload::current();
    let outcome = hooks::refusal(&workload, Reason::SocketKind);
    emit::count(&workload, outcome);
    if outcome.is_reported() {
        let call = Call {
            hook: Hook::SockCreate,
            protocol: protocol as u8,
            family: family as u8,
            kind: kind as u8,
            address: Address([0; 16]),
            port: [0; 2],
            workload,
        };
        emit::tell(&call, outcome.to_number());
    }
    hooks::code(outcome.verdict)
}
