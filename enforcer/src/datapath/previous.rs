//! Maps of other capacities that an earlier start has left: its programs use them until ours replace them.
//!
//! Only a single workload's entry is ever written to them, and they are removed with the other leftovers.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};
use enforcer_common::{Binding, CgroupId, Policy, Settings, maps as name};
use enforcer_core::plan::{Applied, Change};

use super::{Cgroup, Pins, maps::installed, shape};

/// The maps of one generation that bind workloads to policies.
pub(super) struct Previous {
    workloads: HashMap<MapData, CgroupId, Binding>,
    policies: Array<MapData, Policy>,
    settings: Array<MapData, Settings>,
}

impl Previous {
    /// Every other generation that is pinned, or why it cannot be used: another version may have a different layout.
    pub(super) fn all(pins: &Pins) -> Result<Vec<Result<Self>>> {
        Ok(pins.others()?.iter().map(|folder| Self::open(folder)).collect())
    }

    fn open(folder: &Path) -> Result<Self> {
        for name in [name::WORKLOADS, name::POLICIES, name::SETTINGS] {
            shape::check_one(name, &folder.join(name))?;
        }
        Ok(Self {
            workloads: hash(folder, name::WORKLOADS)?,
            policies: Array::try_from(Map::Array(open(folder, name::POLICIES)?))?,
            settings: Array::try_from(Map::Array(open(folder, name::SETTINGS)?))?,
        })
    }

    /// Carries out the changes for the workload, which is found at its depth from then on.
    pub(super) fn admit(
        &mut self,
        workload: &Cgroup,
        changes: impl FnOnce(&Applied) -> Vec<Change>,
    ) -> Result<()> {
        let applied = Applied {
            workloads: self.workloads.iter().collect::<Result<_, _>>()?,
            policies: installed(&self.policies, u32::MAX)?,
            ..Applied::default()
        };
        let settings = self.settings.get(&0, 0)?;
        let depths = workload.depths();
        let wider = Settings {
            depth_min: settings.depth_min.min(*depths.start()),
            depth_max: settings.depth_max.max(*depths.end()),
            ..settings
        };
        for change in changes(&applied) {
            match change {
                Change::SetPolicy(id, policy) => self.policies.set(id.0, policy, 0)?,
                Change::Bind(workload, binding) => self.workloads.insert(workload, binding, 0)?,
                other => bail!("{other:?} is not for maps of an earlier start"),
            }
        }
        // Last, because the programs remember who is bound to what until this changes.
        self.settings.set(0, wider.another_epoch(), 0)?;
        Ok(())
    }
}

pub(super) fn hash<K: Pod, V: Pod>(folder: &Path, name: &str) -> Result<HashMap<MapData, K, V>> {
    Ok(HashMap::try_from(Map::HashMap(open(folder, name)?))?)
}

fn open(folder: &Path, name: &str) -> Result<MapData> {
    let path = folder.join(name);
    MapData::from_pin(&path).with_context(|| format!("opening {}", path.display()))
}
