//! What workloads have learned, taken over from maps of other capacities that an earlier start has left: an application
//! that keeps an address for good does not ask for it again.
//!
//! Only maps of this layout are read, and only into maps that are new.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{HashMap, MapData, MapError},
};
use enforcer_common::{CgroupId, Learned, LearnedKey, Learner, Slots, SlotsKey, maps as name};

use super::{Datapath, Pins, learned::Records, previous::hash, shape};

/// Only if there is none (`BPF_NOEXIST`).
const NEW: u64 = 1;

impl Datapath {
    /// Takes over what workloads have learned, and returns how many addresses that is. To be called before the programs
    /// are replaced; what they learn until then is not among it.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn inherit(&mut self) -> Result<usize> {
        let pins = self.roots.pins.as_ref();
        let folders = pins.map(Pins::others_of_layout).transpose()?;
        let is_new = self.records.learners.keys().next().is_none();
        let mut addresses = 0;
        for folder in folders.into_iter().flatten().filter(|_| is_new) {
            let (copied, slots) = self.records.inherit(&folder)?;
            addresses += copied;
            self.widest = self.widest.max(slots);
        }
        Ok(addresses)
    }
}

impl Records {
    /// How many addresses were copied, and how many slots the widest workload has. Who has learned comes last: as long
    /// as it is missing, the next start begins anew.
    fn inherit(&mut self, folder: &Path) -> Result<(usize, u32)> {
        for name in [name::SLOTS, name::LEARNED, name::LEARNERS] {
            shape::check_one(name, &folder.join(name))?;
        }
        let mut widest = 0;
        let old: HashMap<_, SlotsKey, Slots> = hash(folder, name::SLOTS)?;
        copy(&old, &mut self.slots, |key| {
            let is_address = key.kind == SlotsKey::ADDRESS;
            if is_address {
                widest = widest.max((key.row + 1) * Slots::LENGTH);
            }
            is_address
        })?;
        let old: HashMap<_, LearnedKey, Learned> = hash(folder, name::LEARNED)?;
        let addresses = copy(&old, &mut self.learned, |_| true)?;
        let old: HashMap<_, CgroupId, Learner> = hash(folder, name::LEARNERS)?;
        copy(&old, &mut self.learners, |_| true)?;
        Ok((addresses, widest))
    }
}

/// Copies the entries whose keys are wanted; programs may change them meanwhile.
fn copy<K: Pod, V: Pod>(
    from: &HashMap<MapData, K, V>,
    to: &mut HashMap<MapData, K, V>,
    mut is_wanted: impl FnMut(&K) -> bool,
) -> Result<usize> {
    let mut copied = 0;
    for entry in from.iter() {
        match entry {
            Ok((key, value)) if is_wanted(&key) => {
                to.insert(key, value, NEW).context("writing a new map")?;
                copied += 1;
            }
            Ok(_) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("reading a map of an earlier start"),
        }
    }
    Ok(copied)
}
