//! Takes away what was learned by workloads that are gone, some of it at a time.
//!
//! Whoever has learned anything is in `LEARNERS`, and its slots say where the rest is, so that nothing that others have is
//! looked at. Its entry there goes last: what a crash cuts off is found again.

use std::collections::VecDeque;

use anyhow::{Context as _, Result};
use aya::maps::MapError;
use enforcer_common::{
    Address, CgroupId, LearnedKey, Learner, QuestionKey, Slot, SlotKey,
    maps::{LEARNED_CAPACITY, QUESTIONS_SHARE},
};

use super::{
    learned::{Records, found},
    maps::gone,
};

/// Places that are looked at in one turn: some milliseconds.
const TURN: u64 = 8192;

/// Who is gone, and how far each is taken away.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    queue: VecDeque<Leaving>,
    /// Whether names are to be looked through once the queue is empty.
    names: bool,
}

#[derive(Debug)]
struct Leaving {
    owner: CgroupId,
    /// Places of addresses and of questions that are still to be looked at.
    places: [u64; 2],
}

impl Forgetting {
    /// Everybody who has learned and is not there.
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

    /// A turn; returns whether nothing is left.
    pub(super) fn go_on(
        &mut self,
        records: &mut Records,
        is_there: impl Fn(CgroupId) -> bool,
    ) -> Result<bool> {
        let mut room = TURN;
        while let Some(leaving) = self.queue.front_mut() {
            for (kind, places) in [SlotKey::ADDRESS, SlotKey::QUESTION]
                .into_iter()
                .zip(&mut leaving.places)
            {
                while *places > 0 {
                    if room == 0 {
                        return Ok(false);
                    }
                    room -= 1;
                    let index = u32::try_from(*places - 1)?;
                    records.empty(SlotKey {
                        owner: leaving.owner,
                        index,
                        kind,
                    })?;
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

impl Records {
    /// Takes away a place, and who has it.
    fn empty(&mut self, key: SlotKey) -> Result<()> {
        let Some(Slot(who)) = found(self.slots.get(&key, 0)).context("reading the map SLOTS")? else {
            return Ok(());
        };
        let owner = key.owner;
        if key.kind == SlotKey::ADDRESS {
            let address = Address(who);
            gone(self.learned.remove(&LearnedKey { owner, address })).context("writing the map LEARNED")?;
        } else {
            let [cookie, id] = Address(who).halves();
            let id = id.to_ne_bytes();
            gone(self.questions.remove(&QuestionKey { owner, cookie, id }))
                .context("writing the map QUESTIONS")?;
        }
        gone(self.slots.remove(&key)).context("writing the map SLOTS")
    }

    /// Names of others' addresses have no order: all of them are looked through, which are few.
    fn forget_names(&mut self, is_there: impl Fn(CgroupId) -> bool) -> Result<()> {
        let keys = self.named.keys().filter_map(Result::ok);
        let old: Vec<_> = keys.filter(|key| !is_there(key.owner)).collect();
        for key in old {
            gone(self.named.remove(&key)).context("writing the map NAMED")?;
        }
        Ok(())
    }
}
