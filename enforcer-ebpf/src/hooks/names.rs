//! DNS questions and answers in packets: an address that a trusted resolver has given a workload is learned
//! before the workload can read the answer.
//!
//! `ask` sees outgoing questions and notes them; `learn` sees arriving answers and compares them with the
//! questions. Both run beside the other packet programs. For any other packet they cost one check of the
//! ports.

pub(crate) mod ask;
pub(crate) mod learn;
mod slots;
mod streams;

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{Address, packet::UDP};

use super::packet;

const TCP: u8 = 6;
/// Words of four bytes of an IPv4 header without options, and of an IPv6 header, each with the ports behind it.
const V4_WORDS: usize = 6;
const V6_WORDS: usize = 11;

/// The sender and the receiver of a packet.
struct Envelope {
    is_udp: bool,
    from: Address,
    /// Network byte order.
    from_port: [u8; 2],
    to: Address,
    /// Network byte order.
    to_port: [u8; 2],
    /// Offset of the transport header.
    transport: u32,
}

impl Envelope {
    /// None if it is neither TCP nor UDP, or has options or extension headers; the guard drops such packets
    /// on their way out.
    #[inline(always)]
    fn open(ctx: &SkBuffContext) -> Option<Self> {
        let words = packet::words::<V4_WORDS>(ctx)?;
        let [first, ..] = words[0].to_ne_bytes();
        if first == 0x45 {
            let [_, protocol, ..] = words[2].to_ne_bytes();
            let [from_high, from_low, to_high, to_low] = words[5].to_ne_bytes();
            return Some(Self {
                is_udp: is_udp(protocol)?,
                from: Address::from_v4(words[3].to_ne_bytes()),
                from_port: [from_high, from_low],
                to: Address::from_v4(words[4].to_ne_bytes()),
                to_port: [to_high, to_low],
                transport: 20,
            });
        }
        if first >> 4 != 6 {
            return None;
        }
        let words = packet::words::<V6_WORDS>(ctx)?;
        let [_, _, protocol, _] = words[1].to_ne_bytes();
        let [from_high, from_low, to_high, to_low] = words[10].to_ne_bytes();
        Some(Self {
            is_udp: is_udp(protocol)?,
            from: Address::from_words([words[2], words[3], words[4], words[5]]),
            from_port: [from_high, from_low],
            to: Address::from_words([words[6], words[7], words[8], words[9]]),
            to_port: [to_high, to_low],
            transport: 40,
        })
    }

    /// Offset and length of the message: for UDP as the header gives it, for TCP the rest of the packet.
    #[inline(always)]
    fn payload(&self, ctx: &SkBuffContext) -> Option<Span> {
        const UDP_HEADER: u32 = 8;
        let length = packet::length(ctx);
        let at = if self.is_udp {
            self.transport + UDP_HEADER
        } else {
            self.transport + (u32::from(packet::pair(ctx, self.transport + 12)?[0]) >> 4) * 4
        };
        (at < length).then(|| Span {
            at,
            length: length - at,
        })
    }
}

/// A part of a packet.
#[derive(Clone, Copy)]
struct Span {
    at: u32,
    length: u32,
}

#[inline(always)]
fn is_udp(protocol: u8) -> Option<bool> {
    match protocol {
        UDP => Some(true),
        TCP => Some(false),
        _ => None,
    }
}
