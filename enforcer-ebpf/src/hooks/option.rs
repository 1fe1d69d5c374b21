//! `setsockopt()`: options that send packets elsewhere than their destination says.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::SockoptContext;
use enforcer_common::{Address, Hook, Reason, SocketState, socket};

use crate::{
    emit::{self, Call},
    hooks,
    sock::Sock,
    workload,
};

/// The whole of the program that only keeps records, for kernels where no such program can find the workload (5.10).
/// It records whether a socket may send from an address that is not the machine's; the verdict is made when it
/// sends.
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
            // If the flag cannot be recorded, the call is refused: later verdicts would not know of it.
            if sock.mark(SocketState::FREE) {
                hooks::PROCEED
            } else {
                hooks::REJECT
            }
        }
        _ => hooks::PROCEED,
    }
}

/// The whole of the program. It checks the option and whether it has a value, but not the value itself, which
/// the caller can change meanwhile.
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
        // Servers use these options to wait for their address; the verdict is made when data is sent from it.
        Some(sock) if socket::frees_source(sock.family(), level, option) => !sock.mark(SocketState::FREE),
        _ => socket::reroutes(level, option, length),
    };
    if !reroutes {
        // The kernel uses the caller's own value unchanged. Otherwise kernels before 6.6 would refuse a value
        // larger than a page, of which the program sees only a part (`__cgroup_bpf_run_filter_setsockopt`).
        // SAFETY: as above; the field is writable.
        unsafe { write_volatile(&raw mut (*raw).optlen, 0) };
        return hooks::PROCEED;
    }
    let workload = workload::current();
    let outcome = hooks::refusal(&workload, Reason::Reroute);
    emit::count(&workload, outcome);
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
        emit::tell(&call, outcome.to_number());
    }
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*raw).optlen, 0) };
    hooks::code(outcome.verdict)
}
