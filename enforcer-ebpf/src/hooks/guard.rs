//! Packets on their way out: what passes neither `connect` nor `sendmsg` is not let out.
//!
//! **Architecture Invariant:** for TCP and UDP without options this is two comparisons of the header's bytes; no map
//! is looked at.

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{
    Address, Hook, Reason,
    packet::{V4, V6},
};

use crate::{
    emit::{self, Call, Caller},
    hooks, maps, workload,
};

const V4_LENGTH: usize = 20;
const V6_LENGTH: usize = 40;

/// The whole of the program.
#[inline(always)]
pub(crate) fn verdict(ctx: &SkBuffContext) -> i32 {
    let Some([first]) = read::<1>(ctx, 0) else {
        return drop_unless_let(ctx, Refused::unreadable());
    };
    let refused = if first >> 4 == 6 { v6(ctx) } else { v4(ctx) };
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
fn v4(ctx: &SkBuffContext) -> Option<Refused> {
    let Some(header) = read::<V4_LENGTH>(ctx, 0) else {
        return Some(Refused::unreadable());
    };
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
    let Some(header) = read::<V6_LENGTH>(ctx, 0) else {
        return Some(Refused::unreadable());
    };
    let mut packet = V6 {
        next: header[6],
        hop_limit: header[7],
        destination: [0; 16],
        behind: 0,
    };
    if packet.is_plain() {
        return None;
    }
    packet.destination.copy_from_slice(&header[24..V6_LENGTH]);
    if let Some([behind]) = read::<1>(ctx, V6_LENGTH) {
        packet.behind = behind;
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

/// Bytes of the packet, which begins with its IP header.
#[inline(always)]
fn read<const N: usize>(ctx: &SkBuffContext, offset: usize) -> Option<[u8; N]> {
    let raw = ctx.skb.skb;
    // SAFETY: the kernel gives a valid `__sk_buff` for the time of the call, and the verifier takes the two
    // fields for the bounds of what may be read.
    let (start, end) = unsafe { ((*raw).data as usize, (*raw).data_end as usize) };
    if start + offset + N > end {
        return None;
    }
    // SAFETY: the bytes lie within the bounds.
    Some(unsafe { core::ptr::read_unaligned((start + offset) as *const [u8; N]) })
}
