//! Datagrams that arrive: who sends one to a socket may be answered by that socket, and by others of its cgroup on its
//! port.
//!
//! What arrives by the loopback device does not count: a process could send it to itself in anybody's name. Sockets that
//! are connected need nobody's leave to answer.
//!
//! **Architecture Invariant:** nothing is refused here. What is not TCP or leaves no trace costs a look at its header.

use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{Address, LOOPBACK_DEVICE, PeerKey, packet::UDP};

use super::{PROCEED, packet};
use crate::peers;

/// Bytes of an IPv6 header, and of an IPv4 header without options.
const V6_LENGTH: usize = 40;
const V4_LENGTH: usize = 20;

/// The whole of the program.
#[inline(always)]
pub(crate) fn note(ctx: &SkBuffContext) -> i32 {
    if packet::device(ctx) != LOOPBACK_DEVICE
        && let Some((address, port)) = sender(ctx)
        && let Some(sock) = packet::sock(ctx)
        && sock.peer_port() == [0; 2]
    {
        let key = PeerKey::of_socket(packet::cookie(ctx), address, port);
        peers::heard(&key, || key.of_port(packet::birthplace(ctx), sock.port()));
    }
    PROCEED
}

/// Who has sent a datagram; None for anything else.
#[inline(always)]
fn sender(ctx: &SkBuffContext) -> Option<(Address, [u8; 2])> {
    let header = packet::first::<V4_LENGTH>(ctx)?;
    if header[0] >> 4 == 4 {
        if header[9] != UDP {
            return None;
        }
        let length = u32::from(header[0] & 15) * 4;
        let address = Address::from_v4([header[12], header[13], header[14], header[15]]);
        return Some((address, packet::pair(ctx, length)?));
    }
    if header[6] != UDP {
        return None;
    }
    let header = packet::first::<V6_LENGTH>(ctx)?;
    let mut address = [0; 16];
    address.copy_from_slice(&header[8..24]);
    Some((Address::from_v6(address), packet::pair(ctx, V6_LENGTH as u32)?))
}
