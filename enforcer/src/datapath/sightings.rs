//! What workloads were seen to do since that was last read.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use enforcer_common::{CgroupId, SeenKey, Sight, Talk, Tally, Transport, maps as name};

use super::{Datapath, sys, take::take};

/// Calls of a workload to one destination that had one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The workload's cgroup.
    pub workload: CgroupId,
    /// The destination.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What carried it.
    pub transport: Transport,
    /// What became of it.
    pub sight: Sight,
    /// Whether it was `connect()` of datagram sockets, which sends nothing.
    pub is_probe: bool,
    /// How many calls there were; of allowed datagrams of one socket, some of each second.
    pub count: u64,
    /// How long ago the last one was.
    pub age: Duration,
}

/// The map that the programs count in.
pub(super) struct Sightings(HashMap<MapData, SeenKey, Tally>);

impl Sightings {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        take(object, name::SEEN).map(Self)
    }

    /// Takes at most so many out of the map. What is counted between the two calls for one of them is lost.
    fn drain(&mut self, most: usize) -> Result<Vec<(SeenKey, Tally)>> {
        let mut keys = Vec::new();
        for key in self.0.keys().take(most) {
            match key {
                Ok(key) => keys.push(key),
                // It was not in the map any more when its successor was asked for.
                Err(MapError::KeyNotFound) => break,
                Err(error) => return Err(error).context("reading the map SEEN"),
            }
        }
        let mut seen = Vec::with_capacity(keys.len());
        for key in keys {
            match self.take_one(&key) {
                Ok(tally) => seen.extend(tally.map(|tally| (key, tally))),
                Err(error) if seen.is_empty() => return Err(error).context("taking from the map SEEN"),
                // What was taken is told now, and the error at the next time.
                Err(_) => break,
            }
        }
        Ok(seen)
    }

    /// None if it is gone.
    fn take_one(&mut self, key: &SeenKey) -> Result<Option<Tally>, MapError> {
        match self.0.get(key, 0) {
            Ok(tally) => self.0.remove(key).map(|()| Some(tally)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Datapath {
    /// What was seen since the last call, at most so many destinations; the rest stays for the next one.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub fn sightings(&mut self, most: usize) -> Result<Vec<Sighting>> {
        let now = sys::now();
        let seen = self.sightings.drain(most)?;
        // What this version cannot decode, newer programs have written.
        Ok(seen
            .into_iter()
            .filter_map(|seen| Sighting::new(seen, now))
            .collect())
    }

    /// How many calls were not counted there, because a workload had used up its share or the map was full, by
    /// workload. A count only grows, and begins anew if its entry was removed.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub fn unseen(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.maps.untold(|talk| talk == Talk::Seen as u64)
    }
}

impl Sighting {
    fn new((key, tally): (SeenKey, Tally), now: u64) -> Option<Self> {
        Some(Self {
            workload: key.workload,
            address: IpAddr::from(key.address),
            port: key.port(),
            transport: key.transport()?,
            sight: key.sight()?,
            is_probe: key.is_probe(),
            count: tally.count,
            age: Duration::from_nanos(now.saturating_sub(tally.last)),
        })
    }
}
