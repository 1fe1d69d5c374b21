//! What the programs have noted of workloads and their sockets, taken over from maps of another layout or other capacities
//! that an earlier start has left: an application that keeps an address for good does not ask for it again, and a server
//! answers a client that has asked before.
//!
//! The maps are the same ones: they are pinned here too before the programs are loaded, so that old and new programs
//! share them until the last old one is replaced, and nothing is lost that is noted meanwhile.
//!
//! ```text
//! <other layout>/names-1, LEARNED, …  -> the same version and shape -> <own layout>/names-1, LEARNED, …
//! ```
//!
//! **Architecture Invariant:** maps that refer to each other are taken over together, or none of them.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::MapInfo;

use super::{
    Datapath, Pins,
    groups::{GROUPS, Group, LAST_UNNOTED},
    pins::{entries, remove},
    shape, sys,
};

/// What became of what an earlier start has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherited {
    /// How many learned addresses were taken over.
    pub addresses: usize,
    /// What was not taken over, and what that means.
    pub lost: Vec<String>,
}

/// Pins the maps of earlier starts in the folder of this one, unless it has its own. To be called before the programs are
/// loaded. Returns what is lost; None if there is nothing to take over.
///
/// # Errors
/// If a pin cannot be read or made.
pub(super) fn adopt(pins: &Pins) -> Result<Option<Vec<String>>> {
    let others = pins.others()?;
    // A start that was killed may have left some of a group.
    let is_whole = |group: &&Group| group.maps.iter().all(|(name, _)| pins.map(name).exists());
    let wanting: Vec<_> = GROUPS.iter().filter(|group| !is_whole(group)).collect();
    if others.is_empty() || wanting.is_empty() {
        return Ok(None);
    }
    let mut lost = Vec::new();
    for group in wanting {
        let version = pins.version(group.name);
        let heir = others.iter().find(|other| group.fits(version, other));
        match heir {
            Some(folder) => group.adopt(folder, pins)?,
            None => lost.push(format!(
                "{} of the enforcer before are of another layout: {}",
                group.names(),
                group.loss
            )),
        }
    }
    Ok(Some(lost))
}

impl Group {
    /// Whether the maps in an earlier start's folder are such maps.
    fn fits(&self, version: u32, folder: &Path) -> bool {
        let is_same = folder.join(format!("{}-{version}", self.name)).is_dir() || self.is_unnoted(folder);
        is_same
            && self
                .maps
                .iter()
                .all(|(name, capacity)| is_such(folder, name, *capacity))
    }

    /// Whether the folder is of an enforcer that noted no versions and had the same maps.
    fn is_unnoted(&self, folder: &Path) -> bool {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        let layout = name
            .as_deref()
            .and_then(|name| name.strip_prefix('v')?.split('-').next()?.parse().ok());
        let has_versions = || entries(folder).is_ok_and(|entries| entries.iter().any(|entry| entry.is_dir()));
        layout.is_some_and(|layout| (self.since..=LAST_UNNOTED).contains(&layout)) && !has_versions()
    }

    fn adopt(&self, folder: &Path, pins: &Pins) -> Result<()> {
        for (name, _) in self.maps {
            let from = folder.join(name);
            let map = sys::open_pin(&from).with_context(|| format!("opening {}", from.display()))?;
            let to = pins.map(name);
            remove(&to)?;
            sys::pin(&map, &to).with_context(|| format!("pinning {}", to.display()))?;
        }
        Ok(())
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.maps.iter().map(|(name, _)| *name).collect();
        match names.as_slice() {
            [one] => format!("the map {one}"),
            several => format!("the maps {}", several.join(", ")),
        }
    }
}

fn is_such(folder: &Path, name: &str, capacity: Option<u32>) -> bool {
    let path = folder.join(name);
    let has_room = || {
        let info = MapInfo::from_pin(&path);
        info.is_ok_and(|info| capacity.is_none_or(|capacity| info.max_entries() >= capacity))
    };
    path.exists() && shape::check_one(name, &path).is_ok() && has_room()
}

impl Datapath {
    /// What was taken over of an earlier start's maps of another layout or other capacities; None if there were none.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub fn inherited(&self) -> Result<Option<Inherited>> {
        let Some(lost) = self.lost.clone() else {
            return Ok(None);
        };
        let addresses = self.records.learned.keys().filter(Result::is_ok).count();
        Ok(Some(Inherited { addresses, lost }))
    }
}
