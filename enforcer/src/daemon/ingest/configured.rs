//! The configured cgroups, and the workload of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use enforcer_common::CgroupId;
use enforcer_core::{
    model::{Enforcement, Workload},
    pods::PLACEHOLDER,
};

use crate::{
    config::{CgroupPath, Config, Place, Roots, SliceName},
    sources::cgroups::{Making, Wanted},
};

/// Whether it is the identifier of a cgroup, and no placeholder.
pub(in crate::daemon) fn is_there(cgroup: &CgroupId) -> bool {
    cgroup.0 & PLACEHOLDER == 0
}

/// The configured cgroups.
pub(super) struct Configured {
    workloads: BTreeMap<PathBuf, Workload>,
    wanted: Wanted,
    roots: BTreeSet<PathBuf>,
    /// Whether the configuration names the roots, which then have to be there. A workload may come later.
    are_roots_required: bool,
}

impl Configured {
    pub(super) fn new(config: &Config) -> Self {
        let path = |cgroup: &CgroupPath| PathBuf::from(cgroup.as_str());
        let workloads: BTreeMap<_, _> = config
            .workloads
            .iter()
            .map(|entry| (path(&entry.cgroup), entry.workload.clone()))
            .collect();
        let roots = match &config.roots {
            // A workload below another is covered by that one's programs.
            Roots::EachWorkload => {
                let is_below_another = |path: &Path| {
                    path.ancestors()
                        .skip(1)
                        .any(|above| workloads.contains_key(above))
                };
                workloads
                    .keys()
                    .filter(|path| !is_below_another(path))
                    .cloned()
                    .collect()
            }
            Roots::These(roots) => roots.iter().map(path).collect(),
        };
        Self {
            wanted: wanted(config, &roots),
            workloads,
            roots,
            are_roots_required: matches!(config.roots, Roots::These(_)),
        }
    }

    /// Whether this root has to be there.
    pub(super) fn is_required(&self, root: &Path) -> bool {
        self.are_roots_required && self.roots.contains(root)
    }

    /// Each configured workload under an identifier that no cgroup has. The registry knows them from the start, so
    /// that their names are resolved before their cgroups appear.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = (CgroupId, &Workload)> {
        (0..)
            .zip(self.workloads.values())
            .map(|(number, workload)| (CgroupId(PLACEHOLDER | number), workload))
    }

    /// All cgroups, and the units that should be in them.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.roots.iter().map(PathBuf::as_path)
    }

    pub(super) fn is_root(&self, path: &Path) -> bool {
        self.roots.contains(path)
    }

    pub(super) fn workload(&self, path: &Path) -> Option<&Workload> {
        self.workloads.get(path)
    }
}

fn wanted(config: &Config, roots: &BTreeSet<PathBuf>) -> Wanted {
    let mut wanted = Wanted::default();
    for entry in &config.workloads {
        let path = PathBuf::from(entry.cgroup.as_str());
        if let Place::Unit(unit) = &entry.place
            && entry.workload.enforcement != Some(Enforcement::Off)
        {
            wanted.units.insert(path.clone(), unit.clone());
        }
        let making = making(entry.cgroup.as_str());
        wanted.cgroups.insert(path, making);
    }
    let roots = roots
        .iter()
        .map(|root| (root.clone(), making(&root.to_string_lossy())));
    wanted.cgroups.extend(roots);
    wanted
}

fn making(path: &str) -> Making {
    match SliceName::of_path(path) {
        Some(_) => Making::Always,
        None => Making::Once,
    }
}
