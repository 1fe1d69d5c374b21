//! Each workload's share of the maps: a new entry replaces the workload's own oldest entry, and never another
//! workload's.

use enforcer_common::{
    Address, CgroupId, Counter, LearnedKey, Learner, QuestionKey, Slot, Slots, SlotsKey, learned::HOSTS,
    maps::QUESTIONS_SHARE,
};

use crate::hooks::packet::masked;
use crate::maps::{
    self,
    names::{Desk, LEARNED, LEARNERS, QUESTIONS, SLOTS},
};

/// A slot for a new address of the desk's workload. None if there is no memory for it.
#[inline(never)]
pub(super) fn of_address(desk: *const Desk, high: u64, low: u64, share: u64) -> u64 {
    // SAFETY: the desk is a map's value.
    let (owner, now) = unsafe { ((*desk).owner, (*desk).now) };
    let Some(learner) = learner(owner) else {
        return NONE;
    };
    // SAFETY: the value lives until the program has ended.
    let number = unsafe { maps::fetch_add_one(&raw mut (*learner).addresses) };
    let index = (number % (if share == 0 { 1 } else { share })) as u32;
    let Some(slot) = slot(owner, index, SlotsKey::ADDRESS) else {
        return NONE;
    };
    // SAFETY: the value lives until the program has ended. Another CPU has another number, and comes here only
    // after a whole round of the share.
    let Slot(former) = unsafe { slot.replace(Slot([high, low])) };
    if former == [0, 0] {
        return u64::from(index);
    }
    displace(
        &LearnedKey {
            owner: CgroupId(owner),
            address: Address::from_halves(former),
        },
        index,
        now,
        learner,
    );
    u64::from(index)
}

/// A workload's slot. None if there is no memory for it.
#[inline(always)]
fn slot(owner: u64, index: u32, kind: u32) -> Option<*mut Slot> {
    let key = SlotsKey {
        owner: CgroupId(owner),
        row: index / Slots::LENGTH,
        kind,
    };
    let slots = match SLOTS.get_ptr_mut(key) {
        Some(slots) => slots,
        None => {
            let unused: &Slots = &UNUSED;
            if SLOTS.insert(key, unused, 1).is_err() {
                // Another CPU was first, or there is no memory.
            }
            SLOTS.get_ptr_mut(key)?
        }
    };
    // SAFETY: the slot is within the value.
    Some(unsafe {
        slots
            .cast::<Slot>()
            .add(masked::<{ Slots::LENGTH as u64 - 1 }>(index))
    })
}

/// A static, as [`FIRST`].
static UNUSED: Slots = Slots::UNUSED;

/// Marks that there is no slot.
pub(super) const NONE: u64 = u64::MAX;

/// Removes the address that has the slot.
#[inline(always)]
fn displace(key: &LearnedKey, index: u32, now: u64, learner: *mut Learner) {
    let Some(learned) = LEARNED.get_ptr(key) else {
        return;
    };
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
    let Some(slot) = slot(owner, index, SlotsKey::QUESTION) else {
        return NONE;
    };
    // SAFETY: as above.
    let Slot([old_cookie, old_id]) = unsafe { slot.replace(Slot([cookie, id])) };
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

/// How many questions of a workload may wait. `QUESTIONS` holds no fewer entries than `LEARNED`, so that the share of
/// addresses, which the daemon makes smaller as workloads become more, fits both.
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
