//! Options that make a borrowed socket send elsewhere than its destination says: those of the socket and
//! those of one message. The programs for options and packets run in the cgroup where the socket was created.

use aya_ebpf::programs::LsmContext;
use enforcer_common::{Address, Hook, Reason, socket as rules};

use super::{
    EPERM, PROCEED, code,
    socket::{Seen, Socket},
};
use crate::{
    emit::{self, Call},
    hooks,
    layout::Control,
    workload,
};

/// Bytes of a `struct cmsghdr`.
const HEADER: u64 = 16;
/// The most control messages that are checked; a call with more of them is refused.
const MESSAGES: u32 = 4;

/// `struct cmsghdr`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    length: u64,
    level: u32,
    kind: u32,
}

/// `setsockopt()`: the socket, the level and the option.
#[inline(always)]
pub(crate) fn setsockopt(ctx: &LsmContext) -> i32 {
    let (socket, level, option): (*const Socket, i32, i32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let (level, option) = (level as u32, option as u32);
    if !rules::reroutes(level, option, 1) && !rules::frees_source(rules::AF_INET6, level, option) {
        return PROCEED;
    }
    let seen = Seen::of(socket);
    if !seen.is_inet() || seen.is_nobodys_business() {
        return PROCEED;
    }
    if !rules::reroutes(level, option, 1) && !rules::frees_source(u32::from(seen.family), level, option) {
        return PROCEED;
    }
    let Some(workload) = workload::enforced() else {
        return PROCEED;
    };
    let outcome = hooks::refusal(&workload, Reason::Reroute);
    emit::count(&workload, outcome);
    if outcome.is_reported() {
        let call = Call {
            hook: Hook::Setsockopt,
            protocol: 0,
            family: level as u8,
            kind: option as u8,
            address: Address::UNSPECIFIED,
            port: [0; 2],
            workload,
        };
        emit::tell(&call, outcome.to_number());
    }
    code(outcome.verdict, EPERM)
}

/// Whether the socket has such options, no matter which process set them, or the message carries some.
#[inline(never)]
pub(super) fn reroute(seen: &Seen, control: &Control) -> bool {
    seen.sock.has_options() || brings_options(control)
}

#[inline(always)]
fn brings_options(control: &Control) -> bool {
    let mut at = 0;
    for _ in 0..MESSAGES {
        if control.length - at < HEADER {
            return false;
        }
        let Some(message) = control.read_at::<Header>(at) else {
            return true;
        };
        // The kernel rejects such a message (`CMSG_OK`).
        if message.length < HEADER || message.length > control.length - at {
            return true;
        }
        if rules::message_reroutes(message.level, message.kind) {
            return true;
        }
        // The next one begins at the next multiple of eight, which may be past the end.
        at += (message.length + 7) & !7;
        if at >= control.length {
            return false;
        }
    }
    true
}
