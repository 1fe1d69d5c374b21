//! Who has sent a datagram to which socket, so that servers can answer.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use enforcer_common::{Address, Peer, PeerKey};

use crate::maps::PEERS;

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
pub(crate) fn key(socket: u64, address: Address, port: [u8; 2]) -> PeerKey {
    PeerKey {
        socket,
        address,
        port,
        pad: [0; 6],
    }
}

/// Whether what the socket sends to this peer is an answer.
#[inline(always)]
pub(crate) fn may_be_answered(key: &PeerKey) -> bool {
    known(key).is_some_and(|peer| peer.may_be_answered(now()))
}

/// Notes that the peer has sent to the socket.
#[inline(always)]
pub(crate) fn heard(key: &PeerKey) {
    write(key, Peer::heard(known(key), now()));
}

/// Notes that a rule has let the socket send to the peer.
#[inline(always)]
pub(crate) fn asked(key: &PeerKey) {
    write(key, Peer::asked(known(key), now()));
}

#[inline(always)]
fn known(key: &PeerKey) -> Option<Peer> {
    // SAFETY: a value that is written meanwhile is one of two that hold for this key.
    unsafe { PEERS.get(key) }.copied()
}

#[inline(always)]
fn write(key: &PeerKey, peer: Option<Peer>) {
    if let Some(peer) = peer
        && PEERS.insert(key, &peer, 0).is_err()
    {
        // What cannot be noted is refused, and told of, when it is answered.
    }
}
