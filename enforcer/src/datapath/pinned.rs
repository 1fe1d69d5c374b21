//! Reads what is pinned, without an enforcer that runs: what the kernel enforces now.
//!
//! **Architecture Invariant:** nothing here writes, locks, or needs the pins to be this version's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, Map, MapData, lpm_trie::LpmTrie},
    programs::loaded_programs,
};
use enforcer_common::{
    HostKey, Policy, PortKey, RuleKey,
    maps::{self as name, LAYOUT},
};
use enforcer_core::plan::Applied;

use super::{
    maps::{installed, rules},
    pins::{self, LINKS},
    place::is_own,
    previous::{self, hash},
    sys,
};

/// The maps of one layout and one set of capacities.
#[derive(Debug)]
pub struct Generation {
    /// The name of their folder.
    pub name: String,
    /// What they hold, or why this version cannot tell.
    pub held: Result<Applied>,
}

/// A program in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Its identifier.
    pub id: u32,
    /// Its name, as far as the kernel keeps it.
    pub name: String,
    /// Instructions that the verifier processed; None before 5.16.
    pub verified: Option<u32>,
    /// How often and how long it has run while `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    /// See [`Loaded::runs`].
    pub run_time: Duration,
    /// Cgroups at which a pinned link runs it.
    pub cgroups: BTreeSet<u64>,
}

/// Every generation that an enforcer has pinned below the bpffs at `bpffs`.
///
/// # Errors
/// If the folder exists and cannot be read.
pub fn pinned(bpffs: &Path) -> Result<Vec<Generation>> {
    let folder = bpffs.join("enforcer");
    if !is_own(&folder)? {
        return Ok(Vec::new());
    }
    let named = |folder: PathBuf| {
        let name = folder.file_name()?.to_string_lossy().into_owned();
        name.starts_with('v').then(|| Generation {
            held: held(&folder, &name),
            name,
        })
    };
    Ok(pins::entries(&folder)?.into_iter().filter_map(named).collect())
}

fn held(folder: &Path, name: &str) -> Result<Applied> {
    anyhow::ensure!(
        name.starts_with(&format!("v{LAYOUT}-")),
        "they have another version's layout: this one reads v{LAYOUT}"
    );
    let open = |name| previous::open(folder, name);
    let policies: Array<MapData, Policy> = Array::try_from(Map::Array(open(name::POLICIES)?))?;
    let prefixes: LpmTrie<MapData, RuleKey, u32> = LpmTrie::try_from(Map::LpmTrie(open(name::PREFIXES)?))?;
    let scopes = rules(
        &hash::<PortKey, u32>(folder, name::PORTS)?,
        &hash::<RuleKey, u32>(folder, name::EXACT)?,
        &prefixes,
        &hash::<HostKey, u32>(folder, name::HOSTS)?,
    )?;
    let workloads = hash(folder, name::WORKLOADS)?;
    let workloads = workloads.iter().collect::<Result<_, _>>();
    Ok(Applied {
        workloads: workloads.context("reading the map WORKLOADS")?,
        policies: installed(&policies, u32::MAX)?,
        scopes,
    })
}

/// The programs that pinned links below `bpffs` run, and those with the identifiers `known`.
///
/// # Errors
/// If the kernel does not list programs, or the folder exists and cannot be read.
pub fn programs(bpffs: &Path, known: &BTreeSet<u32>) -> Result<Vec<Loaded>> {
    let linked = linked(bpffs)?;
    let mut found = Vec::new();
    for program in loaded_programs() {
        // One that ended meanwhile is none of those that run.
        let Ok(program) = program else { continue };
        let id = program.id();
        if !known.contains(&id) && !linked.contains_key(&id) {
            continue;
        }
        found.push(Loaded {
            id,
            name: program.name_as_str().unwrap_or_default().to_owned(),
            verified: program.verified_instruction_count(),
            runs: program.run_count(),
            run_time: program.run_time(),
            cgroups: linked.get(&id).cloned().unwrap_or_default(),
        });
    }
    Ok(found)
}

/// The identifiers of the programs that pinned links run, with the cgroups of the links.
fn linked(bpffs: &Path) -> Result<BTreeMap<u32, BTreeSet<u64>>> {
    let folder = bpffs.join("enforcer");
    let mut linked = BTreeMap::<u32, BTreeSet<u64>>::new();
    if !is_own(&folder)? {
        return Ok(linked);
    }
    for links in pins::entries(&folder.join(LINKS))? {
        let is_cgroup = links.file_name().is_some_and(|name| name != pins::LSM);
        for link in pins::entries(&links)? {
            let fd = sys::open_pin(&link).with_context(|| format!("opening {}", link.display()))?;
            let attached = sys::attachment(&fd).context("asking what a link does")?;
            let cgroups = linked.entry(attached.program).or_default();
            cgroups.extend(is_cgroup.then_some(attached.cgroup));
        }
    }
    Ok(linked)
}
