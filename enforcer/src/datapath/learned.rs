//! What the programs have learned: which address each workload was given, by which name, and for which hosts.
//!
//! ```text
//! LEARNED, NAMED           -> Given   (one address of one workload)
//! LEARNERS, SLOTS, LEARNED -> Listed  (all of a workload, in the order of its slots)
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Range,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use enforcer_common::{
    Address, CgroupId, HostId, Learned, LearnedHost, LearnedKey, Learner, Named, Question, QuestionKey, Slot,
    Slots, SlotsKey, maps as name,
};
use enforcer_core::pattern::text;

use super::{sys::now, take::take};

/// Questions that wait for their answers.
pub(super) type Questions = HashMap<MapData, QuestionKey, Question>;

/// For which name and hosts a workload was given an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The name that the workload had asked for, as text.
    pub name: Option<String>,
    /// The hosts of rules for which the address counts.
    pub hosts: BTreeSet<HostId>,
    /// Those for which it has expired.
    pub expired: BTreeSet<HostId>,
}

impl Given {
    /// The hosts for which it counts or has counted.
    pub fn ever(&self) -> BTreeSet<HostId> {
        &self.hosts | &self.expired
    }
}

/// An address that a workload was given for hosts that rules name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedAddress {
    /// The workload.
    pub workload: CgroupId,
    /// The address.
    pub address: IpAddr,
    /// The name that the workload had asked for, as text.
    pub name: Option<String>,
    /// How long ago it was given last.
    pub age: Duration,
    /// The hosts of rules, each with how long the address still counts, or since when it no longer does.
    pub hosts: Vec<(HostId, Life)>,
}

/// How long an address counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It still counts, for this long.
    Left(Duration),
    /// It has not counted for this long.
    Over(Duration),
}

impl Life {
    fn until(expires: u64, now: u64) -> Self {
        match expires.checked_sub(now) {
            Some(left) if left > 0 => Self::Left(Duration::from_nanos(left)),
            _ => Self::Over(Duration::from_nanos(now - expires)),
        }
    }

    /// Seconds left, negative once it is over.
    pub fn seconds(self) -> f64 {
        match self {
            Self::Left(left) => left.as_secs_f64(),
            Self::Over(over) => -over.as_secs_f64(),
        }
    }
}

/// Learned addresses, and how many more there are at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Those that were read.
    pub addresses: Vec<LearnedAddress>,
    /// Slots that were not read.
    pub left_out: u64,
}

/// The maps that the programs write.
pub(super) struct Records {
    pub(super) learned: HashMap<MapData, LearnedKey, Learned>,
    pub(super) named: HashMap<MapData, LearnedKey, Named>,
    pub(super) slots: HashMap<MapData, SlotsKey, Slots>,
    pub(super) learners: HashMap<MapData, CgroupId, Learner>,
    pub(super) questions: Questions,
}

impl Records {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            learned: take(object, name::LEARNED)?,
            named: take(object, name::NAMED)?,
            slots: take(object, name::SLOTS)?,
            learners: take(object, name::LEARNERS)?,
            questions: take(object, name::QUESTIONS)?,
        })
    }

    /// For which name and hosts a workload was given an address, if it was.
    pub(super) fn given(&self, owner: CgroupId, address: IpAddr) -> Result<Given> {
        let key = LearnedKey {
            owner,
            address: address.into(),
        };
        if let Some(learned) = found(self.learned.get(&key, 0)).context("reading the map LEARNED")? {
            let now = now();
            let there = learned.hosts.iter().filter(|one| one.host != HostId::NONE);
            let (counts, expired): (Vec<&LearnedHost>, Vec<_>) = there.partition(|one| one.expires > now);
            return Ok(Given {
                name: sent(&learned.name, learned.length),
                hosts: counts.iter().map(|one| one.host).collect(),
                expired: expired.iter().map(|one| one.host).collect(),
            });
        }
        let named = found(self.named.get(&key, 0)).context("reading the map NAMED")?;
        Ok(Given {
            name: named.and_then(|named| sent(&named.name, named.length)),
            ..Given::default()
        })
    }
}

/// Listings of all entries.
impl Records {
    /// How many slots for addresses each workload has used, at most `share`.
    pub(super) fn learners(&self, share: u32) -> Result<BTreeMap<CgroupId, u64>> {
        let mut learners = BTreeMap::new();
        for entry in self.learners.iter() {
            match entry {
                Ok((owner, learner)) => {
                    learners.insert(owner, learner.addresses.min(share.into()));
                }
                // An entry that was removed while the map was read.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("reading the map LEARNERS"),
            }
        }
        Ok(learners)
    }

    /// The addresses that the workloads of `owners` were given, reading at most `most` slots. It reads by slot, so
    /// that other workloads' entries cost nothing.
    pub(super) fn list(&self, owners: &BTreeMap<CgroupId, u64>, most: usize) -> Result<Listed> {
        let (mut listed, mut room, now) = (Listed::default(), most as u64, now());
        for (owner, places) in owners {
            let looked_at = room.min(*places);
            room -= looked_at;
            listed.left_out += places - looked_at;
            for index in 0..looked_at {
                let address = self.at(*owner, u32::try_from(index)?, now)?;
                listed.addresses.extend(address);
            }
        }
        Ok(listed)
    }

    /// How many slots for addresses each workload was ever assigned, if that is at least `least`.
    pub(super) fn assigned(&self, least: u64) -> Result<BTreeMap<CgroupId, u64>> {
        let mut assigned = BTreeMap::new();
        for entry in self.learners.iter() {
            match entry {
                Ok((owner, learner)) if learner.addresses >= least => {
                    assigned.insert(owner, learner.addresses);
                }
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("reading the map LEARNERS"),
            }
        }
        Ok(assigned)
    }

    /// The addresses in the slots that a workload was assigned by these numbers.
    pub(super) fn recent(
        &self,
        owner: CgroupId,
        numbers: Range<u64>,
        share: u32,
    ) -> Result<Vec<LearnedAddress>> {
        let (mut addresses, now) = (Vec::new(), now());
        for number in numbers {
            let index = u32::try_from(number % u64::from(share.max(1)))?;
            addresses.extend(self.at(owner, index, now)?);
        }
        Ok(addresses)
    }

    /// The address in a workload's slot.
    pub(super) fn at(&self, owner: CgroupId, index: u32, now: u64) -> Result<Option<LearnedAddress>> {
        let Some(Slot(address)) = self.slot(owner, SlotsKey::ADDRESS, index)? else {
            return Ok(None);
        };
        let address = Address::from_halves(address);
        let learned =
            found(self.learned.get(&LearnedKey { owner, address }, 0)).context("reading the map LEARNED")?;
        // An address has one valid slot: the newest.
        let learned = learned.filter(|learned| learned.slot == index);
        Ok(learned.map(|learned| {
            let hosts = learned.hosts.iter().filter(|one| one.host != HostId::NONE);
            LearnedAddress {
                workload: owner,
                address: address.into(),
                name: sent(&learned.name, learned.length),
                age: Duration::from_nanos(now.saturating_sub(learned.time)),
                hosts: hosts
                    .map(|one| (one.host, Life::until(one.expires, now)))
                    .collect(),
            }
        }))
    }
}

impl Records {
    /// How many slots for addresses the workload with the most of them may use.
    pub(super) fn widest(&self) -> Result<u32> {
        let mut widest = 0;
        for key in self.slots.keys() {
            match key {
                Ok(key) if key.kind == SlotsKey::ADDRESS => {
                    widest = widest.max((key.row + 1) * Slots::LENGTH);
                }
                Ok(_) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error).context("reading the map SLOTS"),
            }
        }
        Ok(widest)
    }

    /// What occupies a workload's slot, or did: what has been removed may still be named there.
    pub(super) fn slot(&self, owner: CgroupId, kind: u32, index: u32) -> Result<Option<Slot>> {
        let row = index / Slots::LENGTH;
        let slots = found(self.slots.get(&SlotsKey { owner, row, kind }, 0));
        let slots = slots.context("reading the map SLOTS")?;
        Ok(slots.map(|Slots(slots)| slots[(index % Slots::LENGTH) as usize]))
    }
}

/// The text of a name from a map.
fn sent(name: &[u8], length: u32) -> Option<String> {
    text(name.get(..usize::try_from(length).ok()?)?)
}

/// The entry of a map, if it exists.
pub(super) fn found<T>(entry: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match entry {
        Ok(entry) => Ok(Some(entry)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
