//! Which peer has sent a datagram to which socket, so that servers can answer.
//!
//! Keys are large and a program has 512 bytes of stack in total: each lookup is a separate function.
//!
//! A peer that was asked, because a rule allowed it, is not a client: its answer is no permission to send to
//! it once the rule is gone.

use aya_ebpf::maps::LruHashMap;
use enforcer_common::{Address, CgroupId, Heard, PeerKey, Stand};

use crate::{
    clock::now,
    maps::{ASKED, PEERS},
};

/// Whether a socket's datagram to this peer is an answer, by the socket's own entry or by the entry of its
/// port.
#[inline(never)]
pub(crate) fn may_be_answered(key: &PeerKey, stand: &Stand) -> bool {
    if counts(&PEERS, key) {
        return true;
    }
    match key.of_port(*stand) {
        Some(of_port) => counts(&PEERS, &of_port),
        None => false,
    }
}

/// Whether a datagram from the peer changes nothing, by the socket's own entries: it was noted a moment ago, or the peer
/// was asked a moment ago.
#[inline(always)]
pub(crate) fn is_settled(key: &PeerKey) -> bool {
    let now = now();
    is_fresh(&PEERS, key, now) || is_fresh(&ASKED, key, now)
}

/// Notes that the peer has sent to a socket of `workload`, if that is not [settled](is_settled), and neither the socket
/// nor another one of the workload has asked it. A datagram from a peer that was asked renews that.
#[inline(never)]
pub(crate) fn heard(key: &PeerKey, stand: &Stand, workload: u64) {
    let now = now();
    let of_workload = key.of_workload(CgroupId(workload));
    if was_asked(key, now) | was_asked(&of_workload, now) {
        write(&ASKED, &of_workload, now);
        return;
    }
    if let Some(of_port) = &key.of_port(*stand) {
        write(&PEERS, of_port, now);
    }
    write(&PEERS, key, now);
}

/// Notes that a rule allows a socket of `workload` to send to the peer, and returns whether that was noted already. A
/// peer that has sent to the socket first may still be answered.
///
/// The answer may reach another socket of the workload, which gets the port of this one; from this one, or from a
/// socket that has no port yet, nothing could be told of that one. So the workload is what has asked.
#[inline(never)]
pub(crate) fn asked(key: &PeerKey, workload: u64) -> bool {
    let now = now();
    let of_workload = key.of_workload(CgroupId(workload));
    if is_fresh(&ASKED, key, now) && is_fresh(&ASKED, &of_workload, now) {
        return true;
    }
    if counts(&PEERS, key) {
        return false;
    }
    write(&ASKED, &of_workload, now);
    write(&ASKED, key, now);
    false
}

/// Notes a local address at which a socket was reached.
#[inline(never)]
pub(crate) fn reached_at(cookie: u64, address: &Address) {
    let key = PeerKey::of_socket(cookie, *address, [0; 2]);
    let now = now();
    if !is_fresh(&PEERS, &key, now) {
        write(&PEERS, &key, now);
    }
}

/// Whether a socket was reached at this address.
#[inline(never)]
pub(crate) fn was_reached_at(cookie: u64, address: &Address) -> bool {
    counts(&PEERS, &PeerKey::of_socket(cookie, *address, [0; 2]))
}

/// Whether the peer was asked; a datagram from it renews that.
#[inline(always)]
fn was_asked(key: &PeerKey, now: u64) -> bool {
    let Some(asked) = known(&ASKED, key) else {
        return false;
    };
    if asked.counts(now) && !asked.is_fresh(now) {
        write(&ASKED, key, now);
    }
    asked.counts(now)
}

#[inline(always)]
fn counts(map: &LruHashMap<PeerKey, Heard>, key: &PeerKey) -> bool {
    match known(map, key) {
        Some(heard) => heard.counts(now()),
        None => false,
    }
}

#[inline(always)]
fn is_fresh(map: &LruHashMap<PeerKey, Heard>, key: &PeerKey, now: u64) -> bool {
    match known(map, key) {
        Some(heard) => heard.is_fresh(now),
        None => false,
    }
}

#[inline(always)]
fn known(map: &LruHashMap<PeerKey, Heard>, key: &PeerKey) -> Option<Heard> {
    // SAFETY: a concurrent write replaces the value by another that is valid for this key.
    unsafe { map.get(key) }.copied()
}

#[inline(always)]
fn write(map: &LruHashMap<PeerKey, Heard>, key: &PeerKey, now: u64) {
    if map.insert(key, Heard(now), 0).is_err() {
        // A client that cannot be noted is refused, and reported, when it is answered; a peer that was asked
        // then counts as a client.
    }
}
