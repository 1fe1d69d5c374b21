//! Answers over TCP: several in one packet, or one in two packets.
//!
//! Packets are seen before TCP has processed them. A connection is followed from its first byte, in order.
//! Retransmitted bytes are skipped, and after a gap nothing more is learned from the connection.

use aya_ebpf::{
    EbpfContext as _, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use enforcer_common::Counter;

use super::{KEPT, answer};
use crate::{
    hooks::packet::{self, bounded, masked},
    maps::{
        self,
        names::{PART, PARTS, STREAMS, Stream, desk},
    },
};

/// The most answers that one packet may hold.
const TOGETHER: u32 = 4;

/// Reads a packet of a stream: `places` is the offset of its payload, and above that the offset of its TCP
/// header.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn stream(
    packet: *mut __sk_buff,
    places: u64,
    length: u64,
    owner: u64,
    cookie: u64,
) -> u64 {
    let Some(stream) = STREAMS.get_ptr_mut(cookie) else {
        return 0;
    };
    let (mut at, end) = (places as u32, places as u32 + length as u32);
    let skipped = advance(packet, stream, places >> 32, length);
    if skipped >= length {
        return 0;
    }
    at += skipped as u32;
    // SAFETY: the value lives until the program has ended.
    if unsafe { (*stream).have } == 0 {
        for _ in 0..TOGETHER {
            if at + 2 > end {
                break;
            }
            let next = size_in(packet, at);
            if next > u64::from(end - at - 2) {
                break;
            }
            answer(packet, u64::from(at + 2), next, owner, cookie);
            at += 2 + next as u32;
        }
        if at < end {
            keep(packet, stream, u64::from(at) | u64::from(end - at) << 32, cookie);
        }
        return 0;
    }
    let have = go_on(packet, stream, u64::from(at) | u64::from(end - at) << 32, cookie);
    let mut place = 0;
    for _ in 0..TOGETHER {
        if place + 2 > have {
            break;
        }
        let next = size_of_kept(cookie, place);
        if place + 2 + next > have {
            break;
        }
        answer(packet, KEPT | (place + 2), next, owner, cookie);
        place += 2 + next;
    }
    // SAFETY: as above.
    unsafe {
        if place == have {
            (*stream).have = 0;
        } else if place != 0 {
            lose(stream);
        }
    }
    0
}

/// Advances the connection's state by one packet. Returns how many of its bytes to skip: all of them if the
/// packet is a retransmission or out of order. A separate function, like the next ones: its stack frame is
/// free again when the answer is read.
#[inline(never)]
fn advance(packet: *mut __sk_buff, stream: *mut Stream, header: u64, length: u64) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let Some(sequence) = packet::bytes::<4>(ctx, header as u32 + 4) else {
        return u64::MAX;
    };
    let sequence = u32::from_be_bytes(sequence);
    // SAFETY: the value lives until the program has ended.
    unsafe {
        let ahead = sequence.wrapping_sub((*stream).next);
        if ahead != 0 {
            if ahead < 1 << 31 {
                lose(stream);
            }
            return u64::MAX;
        }
        (*stream).next = sequence.wrapping_add(length as u32);
        let skip = u64::from((*stream).skip);
        if skip >= length {
            (*stream).skip = (skip - length) as u32;
            return length;
        }
        (*stream).skip = 0;
        skip
    }
}

/// Stops learning from the connection: no packet has the number that it waits for, except one in four
/// billion.
///
/// # Safety
/// `stream` points to a value of a map.
#[inline(always)]
unsafe fn lose(stream: *mut Stream) {
    maps::count(Counter::Oversized);
    // SAFETY: the caller's promise.
    unsafe {
        (*stream).have = 0;
        (*stream).skip = u32::MAX;
    }
}

/// The length of the message that begins at an offset in the packet; more than any message has if it cannot
/// be read.
#[inline(never)]
fn size_in(packet: *mut __sk_buff, at: u32) -> u64 {
    match packet::pair(&SkBuffContext::new(packet), at) {
        Some(length) => u64::from(u16::from_be_bytes(length)),
        None => u64::MAX,
    }
}

/// The same for the buffered part.
#[inline(never)]
fn size_of_kept(cookie: u64, place: u64) -> u64 {
    let Some(part) = PARTS.get_ptr(cookie) else {
        return u64::MAX >> 1;
    };
    // SAFETY: the places are within the bytes.
    unsafe {
        let bytes = part.cast::<u8>();
        let high = *bytes.add(masked::<{ 2 * PART as u64 - 1 }>(place as u32));
        let low = *bytes.add(masked::<{ 2 * PART as u64 - 1 }>(place as u32 + 1));
        u64::from(high) << 8 | u64::from(low)
    }
}

/// Buffers the rest of a packet, whose offset and length are in `rest`: the beginning of a message. A message
/// that is too long is skipped.
#[inline(never)]
fn keep(packet: *mut __sk_buff, stream: *mut Stream, rest: u64, cookie: u64) {
    let ctx = &SkBuffContext::new(packet);
    let (place, length) = (rest as u32, (rest >> 32) as u32);
    let Some(desk) = desk() else {
        return;
    };
    // SAFETY: the values live until the program has ended; the desk is this CPU's, and no parser uses it now.
    unsafe {
        if length as usize >= PART {
            let whole = 2 + size_in(packet, place);
            if whole > u64::from(length) && whole < 1 << 17 {
                maps::count(Counter::Oversized);
                (*stream).skip = whole as u32 - length;
            } else {
                lose(stream);
            }
            return;
        }
        let length = bounded(length, PART as u32 - 1);
        let to = (&raw mut (*desk).part).cast();
        let part: &[u8; 2 * PART] = &(*desk).part;
        if bpf_skb_load_bytes(ctx.as_ptr(), place, to, length) != 0 || PARTS.insert(cookie, part, 0).is_err()
        {
            lose(stream);
            return;
        }
        (*stream).have = length;
    }
}

/// Appends the rest of a packet to the buffered part; returns the new length, or 0 if it does not fit.
#[inline(never)]
fn go_on(packet: *mut __sk_buff, stream: *mut Stream, rest: u64, cookie: u64) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let (place, length) = (rest as u32, (rest >> 32) as u32);
    let part = PARTS.get_ptr_mut(cookie);
    // SAFETY: the values live until the program has ended; the second half of the buffer has room for that
    // many bytes.
    unsafe {
        let have = (*stream).have;
        let Some(part) = part else {
            lose(stream);
            return 0;
        };
        if length as usize > PART || have as usize >= PART {
            lose(stream);
            return 0;
        }
        let length = bounded(length, PART as u32);
        let to = part.cast::<u8>().add(masked::<{ PART as u64 - 1 }>(have));
        if bpf_skb_load_bytes(ctx.as_ptr(), place, to.cast(), length) != 0 {
            lose(stream);
            return 0;
        }
        (*stream).have = have + length;
        u64::from(have + length)
    }
}
