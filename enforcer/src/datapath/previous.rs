//! Maps of other capacities that an earlier start has left: its programs use them until ours replace them.
//!
//! Only a single workload's entry is ever written to them, and they are removed with the other leftovers.

use std::{collections::BTreeMap, ops::RangeInclusive, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapError, MapType},
};
use enforcer_common::{Binding, CgroupId, Policy, PolicyId, Settings, maps as name};
use enforcer_core::plan::{Applied, Change};

use super::{Cgroup, Pins, maps::installed, shape};

/// The maps of one generation that bind workloads to policies.
pub(super) struct Previous {
    workloads: HashMap<MapData, CgroupId, Binding>,
    policies: Policies,
    settings: Depths,
}

/// Its policies: up to layout 8 in a hash map.
enum Policies {
    Hash(HashMap<MapData, PolicyId, Policy>),
    Array(Array<MapData, Policy>),
}

/// Its settings: up to layout 8 without an epoch, as words of four bytes.
enum Depths {
    Words(Array<MapData, [u32; 14]>),
    Settings(Array<MapData, Settings>),
}

impl Policies {
    fn open(folder: &Path) -> Result<Self> {
        let map = open(folder, name::POLICIES)?;
        Ok(match map.info()?.map_type()? {
            MapType::Array => Self::Array(Array::try_from(Map::Array(map))?),
            _ => Self::Hash(HashMap::try_from(Map::HashMap(map))?),
        })
    }

    fn all(&self) -> Result<BTreeMap<PolicyId, Policy>> {
        match self {
            Self::Hash(map) => Ok(map.iter().collect::<Result<_, _>>()?),
            Self::Array(map) => installed(map, u32::MAX),
        }
    }

    fn set(&mut self, id: PolicyId, policy: &Policy) -> Result<(), MapError> {
        match self {
            Self::Hash(map) => map.insert(id, policy, 0),
            Self::Array(map) => map.set(id.0, policy, 0),
        }
    }
}

impl Depths {
    fn open(folder: &Path) -> Result<Self> {
        let map = Map::Array(open(folder, name::SETTINGS)?);
        match Array::try_from(map) {
            Ok(map) => Ok(Self::Settings(map)),
            Err(_) => Ok(Self::Words(Array::try_from(Map::Array(open(
                folder,
                name::SETTINGS,
            )?))?)),
        }
    }

    /// Has workloads be looked for at these depths too, and nothing be remembered of before.
    fn widen(&mut self, depths: &RangeInclusive<u32>) -> Result<()> {
        match self {
            Self::Words(map) => {
                /// Places of the two depths.
                const MIN: usize = 1;
                const MAX: usize = 2;
                let mut words = map.get(&0, 0)?;
                words[MIN] = words[MIN].min(*depths.start());
                words[MAX] = words[MAX].max(*depths.end());
                map.set(0, words, 0)?;
            }
            Self::Settings(map) => {
                let settings = map.get(&0, 0)?.another_epoch();
                let wider = Settings {
                    depth_min: settings.depth_min.min(*depths.start()),
                    depth_max: settings.depth_max.max(*depths.end()),
                    ..settings
                };
                map.set(0, wider, 0)?;
            }
        }
        Ok(())
    }
}

impl Previous {
    /// Every other generation that is pinned, or why it cannot be used: another version may have a different layout.
    pub(super) fn all(pins: &Pins) -> Result<Vec<Result<Self>>> {
        Ok(pins.others()?.iter().map(|folder| Self::open(folder)).collect())
    }

    fn open(folder: &Path) -> Result<Self> {
        shape::check_one(name::WORKLOADS, &folder.join(name::WORKLOADS))?;
        Ok(Self {
            workloads: hash(folder, name::WORKLOADS)?,
            policies: Policies::open(folder)?,
            settings: Depths::open(folder)?,
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
            policies: self.policies.all()?,
            ..Applied::default()
        };
        for change in changes(&applied) {
            match change {
                Change::SetPolicy(id, policy) => self.policies.set(id, &policy)?,
                Change::Bind(workload, binding) => self.workloads.insert(workload, binding, 0)?,
                other => bail!("{other:?} is not for maps of an earlier start"),
            }
        }
        // Last, because the programs remember who is bound to what until this changes.
        self.settings.widen(&workload.depths())
    }
}

pub(super) fn hash<K: Pod, V: Pod>(folder: &Path, name: &str) -> Result<HashMap<MapData, K, V>> {
    Ok(HashMap::try_from(Map::HashMap(open(folder, name)?))?)
}

/// A map that is pinned.
pub(super) fn open(folder: &Path, name: &str) -> Result<MapData> {
    let path = folder.join(name);
    MapData::from_pin(&path).with_context(|| format!("opening {}", path.display()))
}
