//! Packets on their way out: what passes neither `connect` nor `sendmsg` is not let out.
//!
//! **Architecture Invariant:** for TCP and UDP without options this is two comparisons of the header's bytes; no map
//! is looked at.

use core::ptr::read_volatile;

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{
    Address, Hook, Reason,
    packet::{V4, V6},
};

use crate::{
    emit::{self, Call, Caller},
    hooks, maps, workload,
};

/// Bytes of an IPv4 header without options.
const V4_LENGTH: usize = 20;
/// Bytes of an IPv6 header and one more.
const V6_LENGTH: usize = 41;

/// The whole of the program.
#[inline(always)]
pub(crate) fn verdict(ctx: &SkBuffContext) -> i32 {
    let refused = match read::<V4_LENGTH>(ctx) {
        None => Some(Refused::unreadable()),
        Some(header) if header[0] >> 4 == 6 => v6(ctx),
        Some(header) => v4(&header),
    };
    match refused {
        None => hooks::PROCEED,
        Some(refused) => drop_unless_let(ctx, refused),
    }
}

/// A packet that may not leave an enforced workload.
struct Refused {
    reason: Reason,
    protocol: u8,
    address: Address,
}

impl Refused {
    #[inline(always)]
    fn unreadable() -> Self {
        Self {
            reason: Reason::Headers,
            protocol: 0,
            address: Address([0; 16]),
        }
    }
}

#[inline(always)]
fn v4(header: &[u8; V4_LENGTH]) -> Option<Refused> {
    let packet = V4 {
        first: header[0],
        protocol: header[9],
        destination: [header[16], header[17], header[18], header[19]],
    };
    if packet.is_plain() {
        return None;
    }
    let reason = packet.refusal(maps::sockets())?;
    Some(Refused {
        reason,
        protocol: packet.protocol,
        address: Address::from_v4(packet.destination),
    })
}

#[inline(always)]
fn v6(ctx: &SkBuffContext) -> Option<Refused> {
    let Some(header) = read::<V6_LENGTH>(ctx) else {
        return Some(Refused::unreadable());
    };
    let packet = V6 {
        next: header[6],
        hop_limit: header[7],
        destination: destination(&header),
        behind: header[V6_LENGTH - 1],
    };
    if packet.is_plain() {
        return None;
    }
    let reason = packet.refusal(maps::sockets())?;
    Some(Refused {
        reason,
        protocol: packet.next,
        address: Address::from_v6(packet.destination),
    })
}

/// Drops the packet if the workload that its socket was born in is enforced.
#[inline(always)]
fn drop_unless_let(ctx: &SkBuffContext, refused: Refused) -> i32 {
    let workload = workload::of_packet(ctx);
    let outcome = hooks::refusal(&workload, refused.reason);
    emit::count(outcome.verdict);
    if outcome.is_reported() {
        let call = Call {
            hook: Hook::Egress,
            protocol: refused.protocol,
            family: 0,
            kind: 0,
            address: refused.address,
            port: [0; 2],
            workload,
        };
        // A packet may be sent by whichever task the kernel has interrupted.
        emit::event(&call, Caller::NONE, outcome);
    }
    hooks::code(outcome.verdict)
}

#[inline(always)]
fn destination(header: &[u8; V6_LENGTH]) -> [u8; 16] {
    let mut address = [0; 16];
    address.copy_from_slice(&header[24..40]);
    address
}

/// The first bytes of the packet, which begins with its IP header.
#[inline(always)]
fn read<const N: usize>(ctx: &SkBuffContext) -> Option<[u8; N]> {
    let raw = ctx.skb.skb;
    // SAFETY: the kernel gives a valid `__sk_buff` for the time of the call, and the verifier takes the two
    // fields for the bounds of what may be read. Volatile, so that what is compared is what is read from.
    let (start, end) = unsafe {
        (
            read_volatile(&raw const (*raw).data) as usize,
            read_volatile(&raw const (*raw).data_end) as usize,
        )
    };
    if start + N > end {
        return None;
    }
    // SAFETY: the bytes lie within the bounds.
    Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
}
