//! Each workload's share of the maps: a new entry replaces the workload's own oldest entry, and never another
//! workload's.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use enforcer_common::{
    Address, CgroupId, Counter, LearnedKey, Learner, QuestionKey, Slot, SlotKey, learned::HOSTS,
    maps::QUESTIONS_SHARE,
};

use crate::maps::{
    self,
    names::{LEARNED, LEARNERS, QUESTIONS, SLOTS},
};

/// A slot for a new address of a workload. None if there is no memory for it.
#[inline(never)]
pub(super) fn of_address(owner: u64, high: u64, low: u64, share: u64) -> u64 {
    let Some(learner) = learner(owner) else {
        return NONE;
    };
    // SAFETY: the value lives until the program has ended.
    let number = unsafe { maps::fetch_add_one(&raw mut (*learner).addresses) };
    let index = (number % (if share == 0 { 1 } else { share })) as u32;
    let key = SlotKey {
        owner: CgroupId(owner),
        index,
        kind: SlotKey::ADDRESS,
    };
    let who = Slot(Address::from_halves([high, low]).0);
    let Some(slot) = SLOTS.get_ptr_mut(key) else {
        return kept(&key, who);
    };
    // SAFETY: the value lives until the program has ended. Another CPU has another number, and comes here only
    // after a whole round of the share.
    let Slot(address) = unsafe { slot.replace(who) };
    displace(
        &LearnedKey {
            owner: CgroupId(owner),
            address: Address(address),
        },
        index,
        learner,
    );
    u64::from(index)
}

/// Writes a slot that was never in use. None if there is no memory for it.
#[inline(always)]
fn kept(key: &SlotKey, who: Slot) -> u64 {
    if SLOTS.insert(key, who, 0).is_err() {
        NONE
    } else {
        u64::from(key.index)
    }
}

/// Marks that there is no slot.
pub(super) const NONE: u64 = u64::MAX;

/// Removes the address that has the slot.
#[inline(always)]
fn displace(key: &LearnedKey, index: u32, learner: *mut Learner) {
    let Some(learned) = LEARNED.get_ptr(key) else {
        return;
    };
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut counts = false;
    // SAFETY: the value lives until the program has ended.
    unsafe {
        if (*learned).slot != index {
            return;
        }
        for host in 0..HOSTS {
            counts |= (*learned).hosts[host].expires > now;
        }
        if counts {
            maps::add_one(&raw mut (*learner).displaced);
        }
    }
    if counts {
        maps::count(Counter::Displaced);
    }
    if LEARNED.remove(key).is_err() {
        // Another CPU has removed it.
    }
}

/// A slot for a new question; the workload's oldest question is removed.
#[inline(never)]
pub(super) fn of_question(owner: u64, cookie: u64, id: u64) -> u64 {
    let Some(learner) = learner(owner) else {
        return NONE;
    };
    // SAFETY: the value lives until the program has ended.
    let number = unsafe { maps::fetch_add_one(&raw mut (*learner).questions) };
    let index = number as u32 % questions_share();
    let key = SlotKey {
        owner: CgroupId(owner),
        index,
        kind: SlotKey::QUESTION,
    };
    let who = Slot(Address::from_halves([cookie, id]).0);
    let Some(slot) = SLOTS.get_ptr_mut(key) else {
        return kept(&key, who);
    };
    // SAFETY: as above.
    let Slot(old) = unsafe { slot.replace(who) };
    let [old_cookie, old_id] = Address(old).halves();
    let old = QuestionKey {
        owner: CgroupId(owner),
        cookie: old_cookie,
        id: old_id.to_ne_bytes(),
    };
    if let Some(question) = QUESTIONS.get_ptr(old)
        // SAFETY: as above.
        && unsafe { (*question).slot } == index
        && QUESTIONS.remove(old).is_err()
    {
        // Another CPU has removed it.
    }
    u64::from(index)
}

/// How many questions of a workload may wait. Both maps hold as many entries, so that the share of addresses, which the
/// daemon makes smaller as workloads become more, fits both.
#[inline(always)]
fn questions_share() -> u32 {
    /// Few names have that many questions under way, and a share of addresses may be configured that is far smaller.
    const LEAST: u32 = 128;
    match maps::settings() {
        Some(settings) => settings.learned.clamp(LEAST, QUESTIONS_SHARE),
        None => LEAST,
    }
}

/// The initial counters of a workload. A static, since the stack is nearly full where addresses are written.
static FIRST: Learner = Learner {
    addresses: 0,
    questions: 0,
    displaced: 0,
};

/// The counters of a workload.
#[inline(always)]
fn learner(owner: u64) -> Option<*mut Learner> {
    let owner = CgroupId(owner);
    if let Some(learner) = LEARNERS.get_ptr_mut(owner) {
        return Some(learner);
    }
    let first: &Learner = &FIRST;
    if LEARNERS.insert(owner, first, 1).is_err() {
        // Another CPU was first, or there is no memory.
    }
    LEARNERS.get_ptr_mut(owner)
}
