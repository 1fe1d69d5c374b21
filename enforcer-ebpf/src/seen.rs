//! Counts what workloads do, for whoever asks what they talk to. Nothing is decided by it.
//!
//! The daemon reads the counts and removes them about once a second, so that a destination which is called all the time
//! costs one lookup each time, and one new entry a second.

use enforcer_common::{Address, CgroupId, Outcome, SeenKey, Share, ShareKey, Sight, Talk, Transport};

use crate::{clock, emit::Call, maps};

/// Counts a call and what became of it. Calls of no known workload, and of what no rule can be about, are not counted.
#[inline(always)]
pub(crate) fn note(call: &Call, outcome: Outcome) {
    let is_udp = call.protocol == Transport::Udp as u8;
    let has_rules = is_udp || call.protocol == Transport::Tcp as u8;
    if let (Some(sight), Some(_), true) = (Sight::of(outcome), call.workload.policy(), has_rules) {
        let is_probe = is_udp && call.is_connect();
        let [high, low] = call.address.halves();
        let what = SeenKey::what(call.port, call.protocol, sight, is_probe);
        count(call.workload.cgroup.0, high, low, what);
    }
}

/// The same as plain numbers, to save stack. Returns whether it was counted.
#[inline(never)]
fn count(workload: u64, high: u64, low: u64, what: u64) -> u64 {
    let key = SeenKey::new(CgroupId(workload), Address::from_halves([high, low]), what);
    let tick = clock::ticks();
    if maps::see_again(&key, tick) {
        return 1;
    }
    let now = clock::now();
    let share = ShareKey {
        workload: key.workload,
        talk: Talk::Seen as u64,
    };
    let is_new = maps::is_within_share(&share, now, Share::LIMIT_SEEN);
    u64::from(is_new && maps::see(&key, [now, tick], &share))
}
