//! How many verdicts the programs have made, by workload, and what the programs cost.
//!
//! ```text
//! a workload is bound -> Counted: an entry of zeros -> programs count, each CPU for itself
//! VerdictCounts: reads the entries, and removes one whose workload is gone once its numbers are taken over
//! ```
//!
//! **Architecture Invariant:** nothing that fails here changes a verdict or a binding: what has no entry of its own is
//! counted with the unknown workloads.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Map, MapData, MapError, PerCpuHashMap, PerCpuValues},
    programs::ProgramError,
};
use enforcer_common::{CgroupId, Verdicts};

use super::{
    Datapath,
    counted::{Counted, Numbers},
    maps::gone,
};

/// Reads the numbers, from any task.
pub struct VerdictCounts {
    numbers: Numbers,
    id: u32,
}

impl VerdictCounts {
    /// The kernel's number of the map: that of another one begins at zero.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The numbers of each workload that has an entry, over all CPUs; those of all unknown ones together belong to
    /// [`Share::UNKNOWN`](enforcer_common::Share::UNKNOWN).
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn read(&self) -> Result<Vec<(CgroupId, Verdicts)>> {
        let workloads = self.workloads()?;
        let mut counted = Vec::with_capacity(workloads.len());
        for workload in workloads {
            counted.extend(self.of(workload)?.map(|verdicts| (workload, verdicts)));
        }
        Ok(counted)
    }

    /// The numbers of one; None if it has no entry.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn of(&self, workload: CgroupId) -> Result<Option<Verdicts>> {
        match self.numbers.get(&workload, 0) {
            Ok(numbers) => Ok(Some(sum(&numbers))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("reading the map VERDICTS"),
        }
    }

    /// Who has an entry.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn workloads(&self) -> Result<Vec<CgroupId>> {
        let mut workloads = Vec::new();
        for key in self.numbers.keys() {
            match key {
                Ok(key) => workloads.push(key),
                // It was not in the map any more when its successor was asked for.
                Err(MapError::KeyNotFound) => break,
                Err(error) => return Err(error).context("reading the map VERDICTS"),
            }
        }
        Ok(workloads)
    }

    /// Ends the entry of a workload that is gone, whose numbers were taken over.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn end(&mut self, workload: CgroupId) -> Result<()> {
        gone(self.numbers.remove(&workload)).context("writing the map VERDICTS")
    }
}

fn sum(numbers: &PerCpuValues<Verdicts>) -> Verdicts {
    let mut all = Verdicts::NONE;
    for verdicts in numbers.iter() {
        for (all, one) in all.0.iter_mut().zip(verdicts.0) {
            *all = all.saturating_add(one);
        }
    }
    all
}

/// The programs, for asking the kernel what they have cost.
pub struct Costs(Vec<(String, OwnedFd)>);

/// Whether the kernel measures how long programs run.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Costs {
    /// How long each program has run, and how often; nothing while the kernel does not measure it
    /// (`kernel.bpf_stats_enabled`).
    pub fn read(&self) -> Vec<(&str, Duration, u64)> {
        let is_measured = fs::read_to_string(STATISTICS).is_ok_and(|text| text.trim() == "1");
        let programs = self.0.iter().filter(|_| is_measured);
        let costs = programs.filter_map(|(program, descriptor)| {
            let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
            let (time, runs) = cost(&about)?;
            Some((program.as_str(), time, runs))
        });
        costs.collect()
    }
}

/// Of what the kernel says of a program's descriptor (`bpf_prog_show_fdinfo`).
fn cost(about: &str) -> Option<(Duration, u64)> {
    let field = |name: &str| -> Option<u64> {
        let mut lines = about.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().parse().ok()
    };
    Some((Duration::from_nanos(field("run_time_ns")?), field("run_cnt")?))
}

impl Datapath {
    /// A reader of the numbers of verdicts.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn verdicts(&self) -> Result<VerdictCounts> {
        let Counted { shared, id, .. } = self.maps.verdicts();
        let data = MapData::from_fd(shared.try_clone()?).context("opening the map VERDICTS")?;
        Ok(VerdictCounts {
            numbers: PerCpuHashMap::try_from(Map::PerCpuHashMap(data))?,
            id: *id,
        })
    }

    /// A reader of what the programs cost.
    ///
    /// # Errors
    /// If the process has too many open files.
    pub fn costs(&self) -> Result<Costs> {
        let mut costs = Vec::new();
        for (name, program) in self.roots.programs().programs() {
            match program.fd() {
                Ok(descriptor) => costs.push((name.to_owned(), descriptor.as_fd().try_clone_to_owned()?)),
                Err(ProgramError::NotLoaded) => {}
                Err(error) => return Err(error).with_context(|| format!("asking about the program {name}")),
            }
        }
        Ok(Costs(costs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_is_read_as_the_kernel_writes_it() {
        let about = "pos:\t0\nflags:\t02000002\nprog_type:\t18\nrun_time_ns:\t2500\nrun_cnt:\t10\nrecursion_misses:\t0\n";
        assert_eq!(cost(about), Some((Duration::from_nanos(2500), 10)));
        assert_eq!(cost("pos:\t0\n"), None);
    }
}
