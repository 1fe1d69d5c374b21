//! Which cgroups matter, and what each of them stands for.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use enforcer_core::model::Workload;

use crate::config::{CgroupPath, Config, Roots};

/// The configured cgroups.
pub(super) struct Places {
    workloads: BTreeMap<PathBuf, Workload>,
    roots: BTreeSet<PathBuf>,
}

impl Places {
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
        Self { workloads, roots }
    }

    /// All paths, each once.
    pub(super) fn paths(&self) -> BTreeSet<PathBuf> {
        self.workloads.keys().chain(&self.roots).cloned().collect()
    }

    pub(super) fn is_root(&self, path: &Path) -> bool {
        self.roots.contains(path)
    }

    pub(super) fn workload(&self, path: &Path) -> Option<&Workload> {
        self.workloads.get(path)
    }
}
