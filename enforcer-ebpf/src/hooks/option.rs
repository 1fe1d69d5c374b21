//! `setsockopt()`: options that lead packets elsewhere than their destination says.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::SockoptContext;
use enforcer_common::{Address, Hook, Reason, SocketState, socket};

use crate::{
    emit::{self, Call, Caller},
    hooks,
    sock::Sock,
    workload,
};

/// The whole of the program that remembers alone, where none can find the workload (5.10): whether a socket may send
/// from an address that is not the machine's. What it sends is judged when it is sent.
#[inline(always)]
pub(crate) fn mark(ctx: &SockoptContext) -> i32 {
    let raw = ctx.sockopt;
    // SAFETY: as below.
    let (level, option, sock) = unsafe {
        (
            read_volatile(&raw const (*raw).level) as u32,
            read_volatile(&raw const (*raw).optname) as u32,
            Sock::new(read_volatile((&raw const (*raw).__bindgen_anon_1.sk).cast())),
        )
    };
    // SAFETY: as below, and why.
    unsafe { write_volatile(&raw mut (*raw).optlen, 0) };
    match sock {
        Some(sock) if socket::forges_source(sock.family(), level, option) => {
            // Whoever cannot be remembered is not known either.
            if sock.mark(SocketState::FREE) {
                hooks::PROCEED
            } else {
                hooks::REJECT
            }
        }
        _ => hooks::PROCEED,
    }
}

/// The whole of the program. It looks at the option and whether it has a value, not into the value, which the
/// caller can change meanwhile.
#[inline(always)]
pub(crate) fn verdict(ctx: &SockoptContext) -> i32 {
    let raw = ctx.sockopt;
    // SAFETY: the kernel gives a valid `bpf_sockopt` for the time of the call. Volatile, since the verifier takes
    // only whole aligned words here.
    let (level, option, length, sock) = unsafe {
        (
            read_volatile(&raw const (*raw).level) as u32,
            read_volatile(&raw const (*raw).optname) as u32,
            read_volatile(&raw const (*raw).optlen) as u32,
            Sock::new(read_volatile((&raw const (*raw).__bindgen_anon_1.sk).cast())),
        )
    };
    let reroutes = match sock {
        // Servers that wait for their address do so; what is sent from it is judged when it is sent.
        Some(sock) if socket::frees_source(sock.family(), level, option) => !sock.mark(SocketState::FREE),
        _ => socket::reroutes(level, option, length),
    };
    if !reroutes {
        // The caller's own value is taken as it is. Kernels before 6.6 would refuse one larger than a page, of
        // which the program was shown a part (`__cgroup_bpf_run_filter_setsockopt`).
        // SAFETY: as above; the field is writable.
        unsafe { write_volatile(&raw mut (*raw).optlen, 0) };
        return hooks::PROCEED;
    }
    let workload = workload::current();
    let outcome = hooks::refusal(&workload, Reason::Reroute);
    emit::count(outcome.verdict);
    if outcome.is_reported() {
        let call = Call {
            hook: Hook::Setsockopt,
            protocol: 0,
            family: level as u8,
            kind: option as u8,
            address: Address([0; 16]),
            port: [0; 2],
            workload,
        };
        emit::event(&call, Caller::current(), outcome);
    }
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*raw).optlen, 0) };
    hooks::code(outcome.verdict)
}
