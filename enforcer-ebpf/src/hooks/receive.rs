//! Arriving datagrams: a socket may answer the sender of a datagram, and so may the other sockets of its
//! cgroup on its port.
//!
//! Datagrams from the loopback device do not count: a process could send them to itself with any source
//! address. Connected sockets may reply without this record.
//!
//! **Architecture Invariant:** nothing is refused here. What is not TCP or leaves no trace costs a look at its header.

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{Address, LOOPBACK_DEVICE, PeerKey, SocketState, packet::UDP};

use super::{PROCEED, packet};
use crate::{peers, workload};

/// Words of four bytes of an IPv4 header without options, and of an IPv6 header.
const V4_WORDS: usize = 5;
const V6_WORDS: usize = 10;

/// The whole of the program.
#[inline(always)]
pub(crate) fn note(ctx: &SkBuffContext) -> i32 {
    if packet::device(ctx) != LOOPBACK_DEVICE
        && let Some(Datagram { from, port, to }) = datagram(ctx)
        && let Some(sock) = packet::sock(ctx)
        && sock.peer_port() == [0; 2]
    {
        let cookie = packet::cookie(ctx);
        let key = PeerKey::of_socket(cookie, from, port);
        // As it is of most; what the others need takes longer than to see that.
        if !peers::is_settled(&key) {
            let workload = workload::of_packet(ctx, &Address::UNSPECIFIED).cgroup;
            peers::heard(&key, &packet::stand(ctx), workload.0);
        }
        if sock.packet_flags() & SocketState::FREE != 0 {
            peers::reached_at(cookie, &to);
        }
    }
    PROCEED
}

/// The sender and the receiver of a datagram.
struct Datagram {
    from: Address,
    /// The sender's, in network byte order.
    port: [u8; 2],
    to: Address,
}

/// None for anything else.
#[inline(always)]
fn datagram(ctx: &SkBuffContext) -> Option<Datagram> {
    let words = packet::words::<V4_WORDS>(ctx)?;
    let [first, ..] = words[0].to_ne_bytes();
    if first >> 4 == 4 {
        let [_, protocol, ..] = words[2].to_ne_bytes();
        if protocol != UDP {
            return None;
        }
        return Some(Datagram {
            from: Address::from_v4(words[3].to_ne_bytes()),
            port: packet::pair(ctx, u32::from(first & 15) * 4)?,
            to: Address::from_v4(words[4].to_ne_bytes()),
        });
    }
    let [_, _, next, _] = words[1].to_ne_bytes();
    if next != UDP {
        return None;
    }
    let words = packet::words::<V6_WORDS>(ctx)?;
    Some(Datagram {
        from: Address::from_words([words[2], words[3], words[4], words[5]]),
        port: packet::pair(ctx, V6_WORDS as u32 * 4)?,
        to: Address::from_words([words[6], words[7], words[8], words[9]]),
    })
}
