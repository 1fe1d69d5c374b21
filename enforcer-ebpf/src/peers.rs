//! Who has sent a datagram to which socket, so that servers can answer.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use enforcer_common::{Peer, PeerKey};

use crate::maps::PEERS;

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// Whether what the socket sends to this peer is an answer.
#[inline(always)]
pub(crate) fn may_be_answered(key: &PeerKey) -> bool {
    match known(key) {
        Some(peer) => peer.may_be_answered(now()),
        None => false,
    }
}

/// Notes that the peer has sent to the socket; `of_port` gives the other entry.
#[inline(always)]
pub(crate) fn heard(key: &PeerKey, of_port: impl FnOnce() -> PeerKey) {
    if let Some(peer) = Peer::heard(known(key), now()) {
        write(key, &peer);
        write(&of_port(), &peer);
    }
}

/// Notes that a rule has let the socket send to the peer.
#[inline(always)]
pub(crate) fn asked(key: &PeerKey) {
    if let Some(peer) = Peer::asked(known(key), now()) {
        write(key, &peer);
    }
}

#[inline(always)]
fn known(key: &PeerKey) -> Option<Peer> {
    // SAFETY: a value that is written meanwhile is one of two that hold for this key.
    unsafe { PEERS.get(key) }.copied()
}

#[inline(always)]
fn write(key: &PeerKey, peer: &Peer) {
    if PEERS.insert(key, peer, 0).is_err() {
        // What cannot be noted is refused, and told of, when it is answered.
    }
}
