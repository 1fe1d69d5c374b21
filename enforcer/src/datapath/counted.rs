//! The map in which verdicts are counted: a workload gets an entry together with its binding.
//!
//! It must never keep a workload from being bound: one without an entry is counted with the unknown ones.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Map, MapData, MapError, PerCpuHashMap, PerCpuValues},
    util::nr_cpus,
};
use enforcer_common::{CgroupId, Verdicts, maps as name};

use super::take::take;

/// Only if there is none (`BPF_NOEXIST`).
const NEW: u64 = 1;

pub(super) type Numbers = PerCpuHashMap<MapData, CgroupId, Verdicts>;

/// The map, and another descriptor of it for whoever reads.
pub(super) struct Counted {
    numbers: Numbers,
    pub(super) shared: OwnedFd,
    /// The kernel's number of the map.
    pub(super) id: u32,
    cpus: usize,
}

impl Counted {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        let map = object
            .map(name::VERDICTS)
            .with_context(|| format!("the object has no map {}", name::VERDICTS))?;
        let Map::PerCpuHashMap(data) = map else {
            anyhow::bail!("the map {} has another layout", name::VERDICTS);
        };
        let shared = data.fd().as_fd().try_clone_to_owned()?;
        let id = data.info()?.id();
        Ok(Self {
            shared,
            id,
            cpus: nr_cpus().map_err(|(file, error)| anyhow::anyhow!("reading {file}: {error}"))?,
            numbers: take(object, name::VERDICTS)?,
        })
    }

    /// Has a workload counted for itself, from now on or from before.
    pub(super) fn begin(&mut self, workload: CgroupId) {
        let zeros = vec![Verdicts::NONE; self.cpus];
        let made = PerCpuValues::try_from(zeros)
            .map_err(MapError::from)
            .and_then(|zeros| self.numbers.insert(workload, zeros, NEW));
        if let Err(error) = made {
            let is_there = self.numbers.get(&workload, 0).is_ok();
            if !is_there {
                tracing::debug!(
                    "verdicts of the cgroup {} are counted with those of unknown workloads: {error}",
                    workload.0
                );
            }
        }
    }
}
