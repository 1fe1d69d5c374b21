//! The file that has counters go on where an earlier process has left them.
//!
//! It belongs to one map: the maps of another boot, or of another layout, begin at zero, and so do the counters.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Verdicts};
use serde::{Deserialize, Serialize};

use super::ledger::Owner;
use crate::kept;

/// What is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// What owners' former workloads were counted.
    pub(super) past: BTreeMap<Owner, Verdicts>,
    /// What of an entry of the map is in that.
    pub(super) taken: BTreeMap<CgroupId, Verdicts>,
    /// Who is bound.
    pub(super) former: BTreeMap<CgroupId, Owner>,
}

/// As JSON.
#[derive(Serialize, Deserialize)]
struct Written {
    boot: String,
    map: u32,
    past: Vec<(Owner, Numbers)>,
    taken: Vec<(u64, Numbers)>,
    former: Vec<(u64, Owner)>,
}

/// Numbers with their places, those that are zero left out.
type Numbers = BTreeMap<usize, u64>;

/// Another one after each boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

impl Kept {
    /// What is in the file about this map; None if that is nothing. A damaged file is nothing, too: what is lost by that
    /// are numbers of workloads that are gone.
    pub(super) fn read(file: &Path, map: u32) -> Option<Self> {
        let written: Written = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        if written.map != map || written.boot != boot()? {
            return None;
        }
        let past = written.past.into_iter();
        let taken = written.taken.into_iter();
        let former = written.former.into_iter();
        Some(Self {
            past: past.map(|(owner, numbers)| (owner, verdicts(&numbers))).collect(),
            taken: taken
                .map(|(cgroup, numbers)| (CgroupId(cgroup), verdicts(&numbers)))
                .collect(),
            former: former.map(|(cgroup, owner)| (CgroupId(cgroup), owner)).collect(),
        })
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(&self, file: &Path, map: u32) -> Result<()> {
        let taken = self.taken.iter();
        let former = self.former.iter();
        let written = Written {
            boot: boot().context("the kernel does not name its boot")?,
            map,
            past: self
                .past
                .iter()
                .map(|(owner, verdicts)| (owner.clone(), numbers(verdicts)))
                .collect(),
            taken: taken
                .map(|(cgroup, verdicts)| (cgroup.0, numbers(verdicts)))
                .collect(),
            former: former.map(|(cgroup, owner)| (cgroup.0, owner.clone())).collect(),
        };
        let text = serde_json::to_string(&written)?;
        kept::replace(file, &text).with_context(|| format!("writing {}", file.display()))
    }
}

fn boot() -> Option<String> {
    Some(fs::read_to_string(BOOT).ok()?.trim().to_owned())
}

fn numbers(verdicts: &Verdicts) -> Numbers {
    let numbers = verdicts.0.iter().copied().enumerate();
    numbers.filter(|(_, number)| *number > 0).collect()
}

fn verdicts(numbers: &Numbers) -> Verdicts {
    let mut verdicts = Verdicts::NONE;
    for (place, number) in numbers {
        if let Some(held) = verdicts.0.get_mut(*place) {
            *held = *number;
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_for_the_same_map_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("verdicts.json");
        let owner = Owner {
            namespace: "frontend".to_owned(),
            workload: "web".to_owned(),
        };
        let mut some = Verdicts::NONE;
        some.0[7] = 3;
        let kept = Kept {
            past: BTreeMap::from([(owner.clone(), some)]),
            taken: BTreeMap::from([(CgroupId(5), some)]),
            former: BTreeMap::from([(CgroupId(6), owner)]),
        };
        kept.write(&file, 17).unwrap();
        assert_eq!(Kept::read(&file, 17), Some(kept));
        assert_eq!(Kept::read(&file, 18), None, "a new map begins at zero");
        fs::write(&file, "{").unwrap();
        assert_eq!(Kept::read(&file, 17), None);
    }
}
