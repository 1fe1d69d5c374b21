//! Maps that outlive a change of the layout or of capacities, and how folders of pins say of which version they are.
//!
//! **Architecture Invariant:** maps that refer to each other are in one group.

use std::path::Path;

use anyhow::Result;
use enforcer_common::maps as name;

use super::place::create;

/// Maps whose contents depend on the workloads alone, and not on what was compiled for them.
pub(super) struct Group {
    /// What it is called in the folder of the maps.
    pub(super) name: &'static str,
    /// Which version of these maps this is: maps of the same version are of the same shape and mean the same.
    pub(super) version: u32,
    /// The maps; None instead of the number of entries where the kernel has none.
    pub(super) maps: &'static [(&'static str, Option<u32>)],
    /// Before versions were noted, this was the first layout with the same maps.
    pub(super) since: u32,
    /// What is different where they cannot be taken over.
    pub(super) loss: &'static str,
}

/// The last layout that came without versions.
pub(super) const LAST_UNNOTED: u32 = 9;

/// All of them.
pub(super) const GROUPS: [Group; 3] = [
    Group {
        name: "names",
        version: name::NAMES_LAYOUT,
        maps: &[
            (name::QUESTIONS, Some(name::QUESTIONS_CAPACITY)),
            (name::LEARNED, Some(name::LEARNED_CAPACITY)),
            (name::SLOTS, Some(name::SLOTS_CAPACITY)),
            (name::LEARNERS, Some(name::LEARNERS_CAPACITY)),
            (name::NAMED, Some(name::NAMED_CAPACITY)),
        ],
        since: 7,
        loss: "addresses that workloads have learned from DNS answers are refused until they ask for the names again",
    },
    Group {
        name: "sockets",
        version: name::SOCKETS_LAYOUT,
        maps: &[
            (name::SOCKETS, None),
            (name::PEERS, Some(name::PEERS_CAPACITY)),
            (name::ASKED, Some(name::ASKED_CAPACITY)),
        ],
        since: LAST_UNNOTED,
        loss: "UDP servers cannot answer clients that they have heard before until these send again",
    },
    Group {
        name: "seen",
        version: name::SEEN_LAYOUT,
        maps: &[(name::SEEN, Some(name::SEEN_CAPACITY))],
        since: LAST_UNNOTED,
        loss: "what workloads were seen to reach in the last second is not counted",
    },
];

/// What a group is called, and its version.
pub(super) type Version = (&'static str, u32);

/// The versions of the groups, as they are noted beside the maps.
pub(super) fn versions() -> Vec<Version> {
    let versions = GROUPS.iter().map(|group| (group.name, group.version));
    versions.collect()
}

/// Notes the versions of the maps beside them.
pub(super) fn note(folder: &Path, versions: &[Version]) -> Result<()> {
    let mut versions = versions.iter();
    versions.try_for_each(|(name, version)| create(&folder.join(format!("{name}-{version}"))))
}
