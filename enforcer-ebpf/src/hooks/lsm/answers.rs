//! Datagrams that a workload takes off the queue of a borrowed socket, and may answer. The ingress program
//! runs in the cgroup where the socket was created, and does not see them.

use aya_ebpf::{helpers::generated::bpf_get_socket_cookie, programs::FExitContext};
use enforcer_common::{Address, CgroupId, LOOPBACK_DEVICE, PeerKey};

use super::{PROCEED, socket::Seen};
use crate::{
    layout::{PacketAddress, SockAddress},
    peers, workload,
};

/// `__skb_recv_udp()`: the first argument is the socket; the return value, behind four arguments, is the
/// packet.
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
        && let Some(workload) = workload::enforced()
    {
        // SAFETY: the kernel gives a valid `struct sock`.
        let cookie = unsafe { bpf_get_socket_cookie(sock) };
        let key = PeerKey::of_socket(cookie, address, port);
        if !peers::is_settled(&key) {
            peers::heard(&key, &seen.sock.stand(), workload.cgroup.0);
        }
    }
    PROCEED
}

/// Whether a borrowed socket sends an answer.
#[inline(always)]
pub(super) fn is_answer(sock: SockAddress, address: Address, port: [u8; 2]) -> bool {
    let [high, low] = address.halves();
    ask(sock.0, high, low, u64::from(u16::from_ne_bytes(port))) != 0
}

/// Notes that a rule has allowed a workload to send by a borrowed socket.
#[inline(always)]
pub(super) fn asked(sock: SockAddress, address: Address, port: [u8; 2], workload: CgroupId) {
    let [high, low] = address.halves();
    note(sock.0, high, low, u64::from(u16::from_ne_bytes(port)), workload.0);
}

/// A separate function with its own stack frame and only numbers as arguments: a program has 512 bytes of
/// stack in total.
#[inline(never)]
fn ask(sock: u64, high: u64, low: u64, port: u64) -> u64 {
    let sock = SockAddress(sock);
    u64::from(peers::may_be_answered(
        &key(sock, [high, low], port),
        &sock.stand(),
    ))
}

/// As above.
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "as many registers as a call has, and nothing on the stack"
)]
fn note(sock: u64, high: u64, low: u64, port: u64, workload: u64) {
    let sock = SockAddress(sock);
    peers::asked(&key(sock, [high, low], port), workload);
}

#[inline(always)]
fn key(sock: SockAddress, halves: [u64; 2], port: u64) -> PeerKey {
    PeerKey::of_socket(
        sock.cookie(),
        Address::from_halves(halves),
        (port as u16).to_ne_bytes(),
    )
}
