//! Where the messages of a TCP connection begin. A length is read only at a known beginning of a message,
//! because record data could look like a whole answer.

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};

use crate::{
    hooks::packet,
    maps::names::{STREAMS, Stream},
};

/// Begins to follow a connection that has not received any data yet.
#[inline(never)]
pub(super) fn begin(packet: *mut __sk_buff, cookie: u64) {
    let ctx = &SkBuffContext::new(packet);
    let next = packet::first_expected(ctx);
    if next == packet::NOT_FIRST || STREAMS.get_ptr(cookie).is_some() {
        return;
    }
    let stream = Stream {
        next: next as u32,
        have: 0,
        skip: 0,
        pad: 0,
    };
    if STREAMS.insert(cookie, stream, 0).is_err() {
        // Nothing is learned from this connection.
    }
}
