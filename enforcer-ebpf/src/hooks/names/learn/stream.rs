//! Answers over TCP: several in one packet, or one in two.
//!
//! Packets are seen before TCP has looked at them. What lies beyond its window is not what the socket will read.

use aya_ebpf::{
    EbpfContext as _, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use enforcer_common::Counter;

use super::{KEPT, answer};
use crate::{
    hooks::packet::{self, bounded, masked},
    maps::{
        self,
        names::{PART, PARTS, Part, desk},
    },
};

/// Answers that one packet may hold.
const TOGETHER: u32 = 4;

/// How far beyond the next byte that it expects a socket takes a packet, at least.
const WINDOW: u32 = 1 << 16;

/// Reads a packet of a stream: `places` is where its payload begins, and above that where its TCP header does.
#[inline(never)]
#[unsafe(no_mangle)]
pub(super) extern "C" fn stream(
    packet: *mut __sk_buff,
    places: u64,
    length: u64,
    owner: u64,
    cookie: u64,
) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let (at, length) = (places as u32, length as u32);
    let sequence = sequence(packet, places >> 32);
    if sequence == OUTSIDE {
        return 0;
    }
    let sequence = sequence as u32;
    match PARTS.get_ptr_mut(cookie) {
        // SAFETY: the value lives until the program has ended.
        Some(part) if unsafe { (*part).next } == sequence => {
            if go_on(packet, part, at, length) == 0 {
                return 0;
            }
            // SAFETY: as above.
            let have = unsafe { (*part).have };
            let mut place = 0;
            for _ in 0..TOGETHER {
                if place + 2 > have {
                    break;
                }
                let next = size(part, place);
                answer(
                    packet,
                    KEPT | u64::from(place + 2),
                    u64::from(next),
                    owner,
                    cookie,
                );
                place += 2 + next;
            }
            if PARTS.remove(cookie).is_err() {
                // Others' have displaced it.
            }
        }
        _ => {
            let mut place = at;
            let end = at + length;
            for _ in 0..TOGETHER {
                if place >= end {
                    return 0;
                }
                let next = match packet::pair(ctx, place) {
                    Some(next) if place + 2 <= end => u32::from(u16::from_be_bytes(next)),
                    _ => u32::MAX >> 1,
                };
                if next > end - place - 2 {
                    keep(
                        packet,
                        cookie,
                        place,
                        u64::from(end - place) | u64::from(sequence.wrapping_add(length)) << 32,
                    );
                    return 0;
                }
                answer(packet, u64::from(place + 2), u64::from(next), owner, cookie);
                place += 2 + next;
            }
        }
    }
    0
}

/// No sequence number.
const OUTSIDE: u64 = u64::MAX;

/// The packet's sequence number, if it lies within what its socket takes; `header` is where its TCP header begins. What this
/// and the next functions need of the stack is free again for what reads the answer.
#[inline(never)]
fn sequence(packet: *mut __sk_buff, header: u64) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let (Some(sequence), Some(expected)) =
        (packet::bytes::<4>(ctx, header as u32 + 4), packet::expected(ctx))
    else {
        return OUTSIDE;
    };
    let sequence = u32::from_be_bytes(sequence);
    if sequence.wrapping_sub(expected) > WINDOW {
        maps::count(Counter::Unasked);
        return OUTSIDE;
    }
    u64::from(sequence)
}

/// The length of the message that begins at a place of what is kept.
#[inline(always)]
fn size(part: *const Part, place: u32) -> u32 {
    // SAFETY: the places are within the bytes.
    unsafe {
        let bytes = (&raw const (*part).bytes).cast::<u8>();
        let high = *bytes.add(masked::<{ 2 * PART as u64 - 1 }>(place));
        let low = *bytes.add(masked::<{ 2 * PART as u64 - 1 }>(place + 1));
        u32::from(high) << 8 | u32::from(low)
    }
}

/// Keeps the rest of a packet: `rest` is its bytes, and above that the sequence number that follows.
#[inline(never)]
fn keep(packet: *mut __sk_buff, cookie: u64, place: u32, rest: u64) {
    let ctx = &SkBuffContext::new(packet);
    let (length, next) = (rest as u32, (rest >> 32) as u32);
    let Some(desk) = desk() else {
        return;
    };
    if length as usize >= PART {
        maps::count(Counter::Oversized);
        return;
    }
    let length = bounded(length, PART as u32 - 1);
    // SAFETY: the desk is this CPU's, nobody is at it, and it lives until the program has ended.
    unsafe {
        (*desk).part.next = next;
        (*desk).part.have = length;
        let to = (&raw mut (*desk).part.bytes).cast();
        let part: &Part = &(*desk).part;
        if bpf_skb_load_bytes(ctx.as_ptr(), place, to, length) != 0 || PARTS.insert(cookie, part, 0).is_err()
        {
            maps::count(Counter::Unlearned);
        }
    }
}

/// Puts a packet behind what is kept. Not 0 if a message is whole.
#[inline(never)]
fn go_on(packet: *mut __sk_buff, part: *mut Part, at: u32, length: u32) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    // SAFETY: the value lives until the program has ended.
    let have = unsafe { (*part).have };
    if length as usize > PART || have as usize >= PART {
        maps::count(Counter::Oversized);
        // SAFETY: as above.
        unsafe { (*part).next = 0 };
        return 0;
    }
    let length = bounded(length, PART as u32);
    // SAFETY: as above; there is room for as much behind half of the bytes.
    unsafe {
        let to = (&raw mut (*part).bytes)
            .cast::<u8>()
            .add(masked::<{ PART as u64 - 1 }>(have));
        if bpf_skb_load_bytes(ctx.as_ptr(), at, to.cast(), length) != 0 {
            return 0;
        }
        (*part).next = (*part).next.wrapping_add(length);
        (*part).have = have + length;
    }
    u64::from(size(part, 0) + 2 <= have + length)
}
