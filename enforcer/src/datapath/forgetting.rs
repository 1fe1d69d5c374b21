//! Removes what workloads learned that are gone, and what lies beyond a share that has become smaller, in small
//! portions.
//!
//! Every workload that has learned anything is in `LEARNERS`, and its slots lead to the rest, so that other
//! workloads' entries are not read. The entry in `LEARNERS` is removed last: after a crash the work is found again.

use std::{collections::VecDeque, ops::Range};

use anyhow::{Context as _, Result};
use aya::maps::MapError;
use enforcer_common::{
    Address, CgroupId, LearnedKey, Learner, QuestionKey, Slot, Slots, SlotsKey,
    maps::{LEARNED_CAPACITY, QUESTIONS_SHARE},
};

use super::{
    learned::{LearnedAddress, Records},
    maps::gone,
    sys::now,
};

/// Slots that are processed in one turn: some milliseconds.
const TURN: u64 = 8192;

/// Which workloads are gone, and how far the removal of each is.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    queue: VecDeque<Leaving>,
    /// Who has more slots than its share, and which are beyond it.
    beyond: VecDeque<(CgroupId, Range<u32>)>,
    /// Whether `NAMED` is to be searched once the queue is empty.
    names: bool,
}

#[derive(Debug)]
struct Leaving {
    owner: CgroupId,
    /// Slots of addresses and of questions that are still to be processed.
    places: [u64; 2],
}

impl Forgetting {
    /// Queues every workload that has learned something and no longer exists.
    pub(super) fn look(&mut self, records: &Records, is_there: impl Fn(CgroupId) -> bool) -> Result<()> {
        for entry in records.learners.iter() {
            let (
                owner,
                Learner {
                    addresses, questions, ..
                },
            ) = match entry {
                Err(MapError::KeyNotFound) => continue,
                entry => entry.context("reading the map LEARNERS")?,
            };
            if !is_there(owner) && !self.queue.iter().any(|leaving| leaving.owner == owner) {
                let places = [
                    addresses.min(LEARNED_CAPACITY.into()),
                    questions.min(QUESTIONS_SHARE.into()),
                ];
                self.queue.push_back(Leaving { owner, places });
            }
        }
        Ok(())
    }

    /// Does one turn; returns whether nothing is left.
    pub(super) fn go_on(
        &mut self,
        records: &mut Records,
        is_there: impl Fn(CgroupId) -> bool,
    ) -> Result<bool> {
        let mut room = TURN;
        while let Some(leaving) = self.queue.front_mut() {
            for (kind, places) in [SlotsKey::ADDRESS, SlotsKey::QUESTION]
                .into_iter()
                .zip(&mut leaving.places)
            {
                while *places > 0 {
                    if room == 0 {
                        return Ok(false);
                    }
                    room -= 1;
                    let index = u32::try_from(*places - 1)?;
                    records.empty(leaving.owner, kind, index)?;
                    records.remove_row_from(leaving.owner, kind, index)?;
                    *places -= 1;
                }
            }
            gone(records.learners.remove(&leaving.owner)).context("writing the map LEARNERS")?;
            self.queue.pop_front();
            self.names = true;
        }
        if std::mem::take(&mut self.names) {
            records.forget_names(is_there)?;
        }
        Ok(true)
    }
}

/// Slots beyond a workload's share, which nothing new ever displaces.
impl Forgetting {
    /// Queues the slots from number `share` on of every workload that has any; none has used one from `most` on.
    pub(super) fn look_beyond(&mut self, records: &Records, share: u32, most: u32) -> Result<()> {
        self.beyond.clear();
        for entry in records.learners.iter() {
            let (owner, learner) = match entry {
                Err(MapError::KeyNotFound) => continue,
                entry => entry.context("reading the map LEARNERS")?,
            };
            let used = u32::try_from(learner.addresses).unwrap_or(u32::MAX).min(most);
            if used > share {
                self.beyond.push_back((owner, share..used));
            }
        }
        Ok(())
    }

    /// Empties some of them; returns the addresses that were given up so.
    pub(super) fn empty_beyond(&mut self, records: &mut Records) -> Result<Vec<LearnedAddress>> {
        let (mut given_up, now) = (Vec::new(), now());
        for _ in 0..TURN {
            let Some((owner, range)) = self.beyond.front_mut() else {
                break;
            };
            let owner = *owner;
            // From the last on, so that a row's first slot comes after all others of the row.
            let Some(index) = range.next_back() else {
                self.beyond.pop_front();
                continue;
            };
            // Otherwise its address has a newer slot, if any.
            if let Some(learned) = records.at(owner, index, now)? {
                records.empty(owner, SlotsKey::ADDRESS, index)?;
                given_up.push(learned);
            }
            records.remove_row_from(owner, SlotsKey::ADDRESS, index)?;
        }
        Ok(given_up)
    }
}

impl Records {
    /// Removes what occupies a slot.
    fn empty(&mut self, owner: CgroupId, kind: u32, index: u32) -> Result<()> {
        let Some(Slot(who)) = self.slot(owner, kind, index)? else {
            return Ok(());
        };
        if kind == SlotsKey::ADDRESS {
            let address = Address::from_halves(who);
            gone(self.learned.remove(&LearnedKey { owner, address })).context("writing the map LEARNED")?;
        } else {
            let [cookie, id] = who;
            let id = id.to_ne_bytes();
            gone(self.questions.remove(&QuestionKey { owner, cookie, id }))
                .context("writing the map QUESTIONS")?;
        }
        Ok(())
    }

    /// Removes the row that begins with this slot, if one does. No slot is emptied in a row that stays: the programs
    /// write its other slots.
    fn remove_row_from(&mut self, owner: CgroupId, kind: u32, index: u32) -> Result<()> {
        if !index.is_multiple_of(Slots::LENGTH) {
            return Ok(());
        }
        let row = index / Slots::LENGTH;
        gone(self.slots.remove(&SlotsKey { owner, row, kind })).context("writing the map SLOTS")
    }

    /// Entries of `NAMED` have no order, so that all of them are searched; there are few.
    fn forget_names(&mut self, is_there: impl Fn(CgroupId) -> bool) -> Result<()> {
        let keys = self.named.keys().filter_map(Result::ok);
        let old: Vec<_> = keys.filter(|key| !is_there(key.owner)).collect();
        for key in old {
            gone(self.named.remove(&key)).context("writing the map NAMED")?;
        }
        Ok(())
    }
}
