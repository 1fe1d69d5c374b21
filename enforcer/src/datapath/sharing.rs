//! What was learned, as others ask for it, and the share that each workload has of it.

use std::{collections::BTreeMap, net::IpAddr, ops::Range};

use anyhow::Result;
use enforcer_common::{CgroupId, Settings};

use super::{Datapath, Given, LearnedAddress, Listed, learned::Records};

/// The largest share that anybody has had, as far as is known. Settings that are new say nothing of records that are not.
pub(super) fn widest(records: &Records, previous: &Settings) -> Result<u32> {
    if previous.depth_max == 0 {
        records.widest()
    } else {
        Ok(previous.learned)
    }
}

impl Datapath {
    /// For which name and hosts a workload was given an address.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn given(&self, workload: CgroupId, address: IpAddr) -> Result<Given> {
        self.records.given(workload, address)
    }

    /// How many addresses each workload was given for hosts that rules name.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn learners(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.records.learners(self.share)
    }

    /// The addresses of these workloads, by their numbers as [`Self::learners`] has them, `most` of all together.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn learned(&self, workloads: &BTreeMap<CgroupId, u64>, most: usize) -> Result<Listed> {
        self.records.list(workloads, most)
    }

    /// How many addresses one workload may have learned at once, as configured.
    pub fn configured_share(&self) -> u32 {
        self.share
    }

    /// How many addresses one workload may have learned at once, as set now.
    pub fn share(&self) -> u32 {
        self.settings.learned
    }

    /// Limits the number of addresses that each workload may have learned at once.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub fn set_share(&mut self, share: u32) -> Result<()> {
        self.widest = self.widest.max(share).max(self.settings.learned);
        self.set(Settings {
            learned: share,
            ..self.settings
        })
    }

    /// Notes which slots are beyond the share that is set now, also those that an earlier start has left.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn note_beyond_share(&mut self) -> Result<()> {
        self.forgetting
            .look_beyond(&self.records, self.settings.learned, self.widest)
    }

    /// Empties some of those slots, and returns the addresses that are given up; none if nothing is left.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn give_up_beyond_share(&mut self) -> Result<Vec<LearnedAddress>> {
        self.forgetting.empty_beyond(&mut self.records)
    }

    /// How many slots for addresses each workload was ever assigned that may soon use one again: `least` or more.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn assigned(&self, least: u64) -> Result<BTreeMap<CgroupId, u64>> {
        self.records.assigned(least)
    }

    /// The addresses in the slots that a workload was assigned by these numbers.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn recent(&self, workload: CgroupId, numbers: Range<u64>) -> Result<Vec<LearnedAddress>> {
        self.records.recent(workload, numbers, self.settings.learned)
    }

    /// Notes which workloads' learned data has to be removed: those that no longer exist.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn note_gone(&mut self, is_there: impl Fn(CgroupId) -> bool) -> Result<()> {
        self.forgetting.look(&self.records, is_there)
    }

    /// Removes some of that data. Returns whether nothing is left.
    ///
    /// # Errors
    /// If a map cannot be read or written.
    pub fn forget_gone(&mut self, is_there: impl Fn(CgroupId) -> bool) -> Result<bool> {
        self.forgetting.go_on(&mut self.records, is_there)
    }
}
