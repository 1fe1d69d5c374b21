//! What the programs have learned: which address each workload was given, by which name, and for which hosts.
//!
//! `LEARNED, NAMED -> Given`

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use enforcer_common::{CgroupId, HostId, Learned, LearnedHost, LearnedKey, Named, maps as name};
use enforcer_core::pattern::text;

use super::{maps::take, sys::now};

/// As what a workload was given an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The name that it had asked for, as text.
    pub name: Option<String>,
    /// The hosts of rules for which it counts.
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

/// The maps that the programs write.
pub(super) struct Records {
    learned: HashMap<MapData, LearnedKey, Learned>,
    named: HashMap<MapData, LearnedKey, Named>,
}

impl Records {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            learned: take(object, name::LEARNED)?,
            named: take(object, name::NAMED)?,
        })
    }

    /// As what a workload was given an address, if it was.
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

/// The text of a name that a map holds.
fn sent(name: &[u8], length: u32) -> Option<String> {
    text(name.get(..usize::try_from(length).ok()?)?)
}

/// What is in a map, if it is.
fn found<T>(entry: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match entry {
        Ok(entry) => Ok(Some(entry)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
