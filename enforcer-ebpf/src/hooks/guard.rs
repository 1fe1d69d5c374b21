//! Outgoing packets: drops those that have passed neither `connect` nor `sendmsg`.
//!
//! The program sees a packet after the kernel's NAT and routing. So it knows what no call shows: the device,
//! and where NAT has redirected a loopback address.
//!
//! **Architecture Invariant:** for TCP without options this costs a few comparisons of words of the header
//! and the socket, and no map lookup. For UDP it also reads the socket's own storage.

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{
    Address, Hook, LOOPBACK_DEVICE, Outcome, PeerKey, Reason, SocketState, Transport, Verdict,
    packet::{TCP, UDP, V4, V6},
};

use super::{address, packet};
use crate::{
    emit::{self, Call, Caller},
    hooks, layout, maps, peers, workload,
};

/// Bytes of an IPv4 header without options, and words of four bytes.
const V4_LENGTH: u32 = 20;
const V4_WORDS: usize = 5;
/// Of an IPv6 header.
const V6_LENGTH: u32 = 40;
const V6_WORDS: usize = 10;
/// Offset of the destination port behind a header.
const DESTINATION_PORT: u32 = 2;

/// The whole of the program. Packets to the loopback device do not leave the machine.
#[inline(always)]
pub(crate) fn verdict(ctx: &SkBuffContext) -> i32 {
    if packet::device(ctx) == LOOPBACK_DEVICE {
        return hooks::PROCEED;
    }
    let Some(words) = packet::words::<V4_WORDS>(ctx) else {
        return drop_unless_let(ctx, Refused::unreadable());
    };
    let [first, ..] = words[0].to_ne_bytes();
    if first >> 4 == 6 {
        v6(ctx)
    } else {
        v4(ctx, first, words)
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
fn v4(ctx: &SkBuffContext, first: u8, words: [u32; V4_WORDS]) -> i32 {
    let [_, protocol, ..] = words[2].to_ne_bytes();
    let packet = V4 {
        first,
        protocol,
        source: words[3].to_ne_bytes(),
        destination: words[4].to_ne_bytes(),
    };
    if packet.is_plain() {
        if !is_translated(ctx, packet.protocol, false) {
            return hooks::PROCEED;
        }
        let to = Address::from_v4(packet.destination);
        return judge_translated(ctx, packet.protocol, to, V4_LENGTH);
    }
    match packet.refusal(maps::sockets()) {
        None => hooks::PROCEED,
        Some(reason) => drop_unless_let(
            ctx,
            Refused {
                reason,
                protocol: packet.protocol,
                address: Address::from_v4(packet.destination),
            },
        ),
    }
}

#[inline(always)]
fn v6(ctx: &SkBuffContext) -> i32 {
    let Some(words) = packet::words::<V6_WORDS>(ctx) else {
        return drop_unless_let(ctx, Refused::unreadable());
    };
    let [_, _, next, hop_limit] = words[1].to_ne_bytes();
    let behind = if next == UDP || next == TCP {
        0
    } else {
        let Some([behind]) = packet::bytes(ctx, V6_LENGTH) else {
            return drop_unless_let(ctx, Refused::unreadable());
        };
        behind
    };
    let packet = V6 {
        next,
        hop_limit,
        source: Address::from_words([words[2], words[3], words[4], words[5]]),
        destination: Address::from_words([words[6], words[7], words[8], words[9]]),
        behind,
    };
    if packet.is_plain() {
        if !is_translated(ctx, packet.next, true) {
            return hooks::PROCEED;
        }
        return judge_translated(ctx, packet.next, packet.destination, V6_LENGTH);
    }
    match packet.refusal(maps::sockets()) {
        None => hooks::PROCEED,
        Some(_) if packet.is_discovery() && layout::is_kernels_own(ctx) => hooks::PROCEED,
        Some(reason) => drop_unless_let(
            ctx,
            Refused {
                reason,
                protocol: packet.next,
                address: packet.destination,
            },
        ),
    }
}

/// Whether the packet goes to another destination than the call named, so that it is judged here. There are
/// two cases: the kernel's NAT has rewritten a loopback address that the socket is connected to or has sent
/// to; or an IPv6 datagram leaves a socket that is connected by IPv4, which overwrites the destination of
/// pending data (`inet_cork`).
#[inline(always)]
fn is_translated(ctx: &SkBuffContext, protocol: u8, is_v6: bool) -> bool {
    let Some(sock) = packet::sock(ctx) else {
        return false;
    };
    let is_elsewhere = if is_v6 {
        let [first, second, third, last] = sock.peer6();
        let is_mapped = third == 0xffff_u32.to_be();
        (first | second) == 0 && (is_mapped || (third == 0 && last == 1_u32.to_be()))
    } else {
        sock.peer4()[0] == 127
    };
    is_elsewhere || (protocol == UDP && sock.packet_flags() & SocketState::LOCAL != 0)
}

/// The verdict on the packet's present destination.
#[inline(always)]
fn judge_translated(ctx: &SkBuffContext, protocol: u8, to: Address, length: u32) -> i32 {
    let transport = if protocol == UDP {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let call = Call {
        hook: Hook::Egress,
        protocol,
        family: 0,
        kind: 0,
        address: to,
        // No rule allows port 0.
        port: packet::pair(ctx, length + DESTINATION_PORT).unwrap_or([0; 2]),
        workload: workload::of_packet(ctx, &to),
    };
    let mut outcome = address::judge_apart(transport, &call, || {
        let key = PeerKey::of_socket(packet::cookie(ctx), to, call.port);
        peers::may_be_answered(&key, &packet::stand(ctx))
    });
    if matches!(outcome.reason, Reason::NoRule) {
        outcome = Outcome {
            reason: Reason::Translated,
            ..outcome
        };
    }
    if !matches!(outcome.verdict, Verdict::Allow) {
        emit::count(&call.workload, outcome);
    }
    if outcome.is_reported() {
        emit::event(&call, Caller::none, outcome);
    }
    hooks::code(outcome.verdict)
}

/// Drops the packet if the workload that its socket was born in is enforced.
#[inline(always)]
fn drop_unless_let(ctx: &SkBuffContext, refused: Refused) -> i32 {
    let workload = workload::of_packet(ctx, &refused.address);
    let outcome = hooks::refusal(&workload, refused.reason);
    emit::count(&workload, outcome);
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
        // Any task may send the packet: whichever one the kernel has interrupted.
        emit::event(&call, Caller::none, outcome);
    }
    hooks::code(outcome.verdict)
}
