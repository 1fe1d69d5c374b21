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
use crate::peers;

/// Bytes of an IPv6 header, and of an IPv4 header without options.
const V6_LENGTH: usize = 40;
const V4_LENGTH: usize = 20;

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
        peers::heard(&key, &packet::stand(ctx));
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
    let header = packet::first::<V4_LENGTH>(ctx)?;
    if header[0] >> 4 == 4 {
        if header[9] != UDP {
            return None;
        }
        return Some(Datagram {
            from: Address::from_v4([header[12], header[13], header[14], header[15]]),
            port: packet::pair(ctx, u32::from(header[0] & 15) * 4)?,
            to: Address::from_v4([header[16], header[17], header[18], header[19]]),
        });
    }
    if header[6] != UDP {
        return None;
    }
    let header = packet::first::<V6_LENGTH>(ctx)?;
    let (mut from, mut to) = ([0; 16], [0; 16]);
    from.copy_from_slice(&header[8..24]);
    to.copy_from_slice(&header[24..40]);
    Some(Datagram {
        from: Address::from_v6(from),
        port: packet::pair(ctx, V6_LENGTH as u32)?,
        to: Address::from_v6(to),
    })
}
