//! Datagrams that a workload takes off the queue of a borrowed socket, which it may answer. The program for packets that
//! arrive runs where a socket was born, and does not see them.

use aya_ebpf::{helpers::generated::bpf_get_socket_cookie, programs::FExitContext};
use enforcer_common::{LOOPBACK_DEVICE, PeerKey};

use super::{PROCEED, socket::Seen};
use crate::{
    layout::{PacketAddress, SockAddress},
    peers, workload,
};

/// `__skb_recv_udp()`: the socket first, and behind four arguments the packet that it returns.
#[inline(always)]
pub(crate) fn receive(ctx: &FExitContext) -> i32 {
    let (sock, packet): (*mut core::ffi::c_void, u64) = (ctx.arg(0), ctx.arg(4));
    let (packet, seen) = (PacketAddress(packet), Seen::of_sock(SockAddress(sock as u64)));
    if packet.is_none() || seen.is_nobodys_business() || seen.is_connected() {
        return PROCEED;
    }
    if packet.device() == LOOPBACK_DEVICE {
        return PROCEED;
    }
    if let Some((address, port)) = packet.sender()
        && workload::enforced().is_some()
    {
        // SAFETY: the kernel gives a valid `struct sock`.
        let cookie = unsafe { bpf_get_socket_cookie(sock) };
        let key = PeerKey::of_socket(cookie, address, port);
        peers::heard(&key, || key.of_port(seen.birthplace(), seen.port()));
    }
    PROCEED
}
