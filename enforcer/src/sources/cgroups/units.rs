//! Units that run outside their slices, and cgroups that nothing uses while one of a similar name is in use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::CgroupChange;
use crate::config::ServiceName;

/// For this long, nothing need be in a cgroup.
const PATIENCE: Duration = Duration::from_secs(60);

/// Folders that are looked into at most.
const MOST: usize = 4096;

/// A unit that runs where nothing enforces it: it was started before systemd knew of its slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Misplaced {
    /// The unit.
    pub unit: String,
    /// Where it runs.
    pub at: PathBuf,
}

/// A cgroup in which nothing has been.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unused {
    /// The cgroup.
    pub path: PathBuf,
    /// One of a similar name, which is in use.
    pub similar: PathBuf,
}

/// What is known of units.
pub(super) struct Units {
    mount: PathBuf,
    /// By the cgroup that they should be in.
    units: BTreeMap<PathBuf, ServiceName>,
    start: Instant,
    /// Cgroups in which something has been.
    used: BTreeSet<PathBuf>,
    misplaced: BTreeSet<Misplaced>,
    unused: BTreeSet<Unused>,
}

impl Units {
    pub(super) fn new(units: BTreeMap<PathBuf, ServiceName>, mount: &Path) -> Self {
        Self {
            mount: mount.to_owned(),
            units,
            start: Instant::now(),
            used: BTreeSet::new(),
            misplaced: BTreeSet::new(),
            unused: BTreeSet::new(),
        }
    }

    /// What has changed since the last call; `cgroups` are those that are followed.
    pub(super) fn look<'a>(&mut self, cgroups: impl Iterator<Item = &'a PathBuf>) -> Vec<CgroupChange> {
        let mut unused = Vec::new();
        for path in cgroups {
            if self.used.contains(path) {
                continue;
            }
            if is_populated(&below(&self.mount, path)) {
                self.used.insert(path.clone());
            } else {
                unused.push(path);
            }
        }
        let is_over = self.start.elapsed() >= PATIENCE;
        if self.units.is_empty() && (unused.is_empty() || !is_over) {
            return Vec::new();
        }
        let there = in_use(&self.mount);
        let mut changes = Vec::new();
        let misplaced = self.misplaced_among(&there);
        if misplaced != self.misplaced {
            self.misplaced.clone_from(&misplaced);
            changes.push(CgroupChange::Misplaced(misplaced));
        }
        let unused = unused.into_iter().filter(|_| is_over);
        let unused = unused.filter_map(|path| self.meant(path, &there)).collect();
        if unused != self.unused {
            self.unused.clone_from(&unused);
            changes.push(CgroupChange::Unused(unused));
        }
        changes
    }

    fn misplaced_among(&self, there: &[PathBuf]) -> BTreeSet<Misplaced> {
        let services = there.iter().filter_map(|path| Some((path, unit(path)?)));
        let misplaced = services.filter(|(path, unit)| {
            let named = self.units.values().any(|name| name.as_str() == *unit);
            self.units.iter().any(|(own, name)| {
                // An instance that is named itself is not its template's.
                let is_meant = name.as_str() == *unit || (name.covers(unit) && !named);
                is_meant && !path.starts_with(own)
            })
        });
        misplaced
            .map(|(path, unit)| Misplaced {
                unit: unit.to_owned(),
                at: path.clone(),
            })
            .collect()
    }

    /// What may be meant by a cgroup that is not in use.
    fn meant(&self, path: &Path, there: &[PathBuf]) -> Option<Unused> {
        let name = match self.units.get(path) {
            Some(unit) => unit.as_str(),
            None => path.file_name()?.to_str()?,
        };
        let beside = siblings(&below(&self.mount, path));
        let names = there.iter().chain(&beside).filter(|other| *other != path);
        let similar = names.filter_map(|other| {
            let found = unit(other).or(other.file_name()?.to_str())?;
            let distance = strsim::damerau_levenshtein(name, found);
            // A third of the letters may differ, those of the suffix left out.
            let letters = name.split('.').next().unwrap_or(name).len();
            (distance * 3 <= letters).then_some((distance, other))
        });
        let (_, similar) = similar.min()?;
        Some(Unused {
            path: path.to_owned(),
            similar: similar.clone(),
        })
    }
}

fn below(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

/// The name of the service at a path.
fn unit(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_prefix('_').unwrap_or(name);
    name.ends_with(".service").then_some(name)
}

/// Slices and services of the system in which processes are, as paths below the mount. Slices of pods are left out: their
/// units are none of systemd's.
fn in_use(mount: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut slices = vec![PathBuf::from("/")];
    let mut looked = 0;
    while let Some(slice) = slices.pop() {
        looked += 1;
        if looked > MOST {
            break;
        }
        for name in children(&below(mount, &slice)) {
            let path = slice.join(&name);
            let is_slice = name.ends_with(".slice") && !name.contains("kubepods");
            if !(is_slice || name.ends_with(".service")) || !is_populated(&below(mount, &path)) {
                continue;
            }
            if is_slice {
                slices.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// The cgroups beside one that are in use.
fn siblings(folder: &Path) -> Vec<PathBuf> {
    let Some(parent) = folder.parent() else {
        return Vec::new();
    };
    let names = children(parent).into_iter();
    let paths = names.map(|name| parent.join(name));
    paths
        .filter(|path| path != folder && is_populated(path))
        .collect()
}

fn children(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Whether processes are in it or below.
fn is_populated(folder: &Path) -> bool {
    let events = fs::read_to_string(folder.join("cgroup.events"));
    events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a mount of cgroups, in which these are in use.
    fn mount(populated: &[&str]) -> tempfile::TempDir {
        let mount = tempfile::tempdir().unwrap();
        for path in populated {
            let folder = mount.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            for folder in folder.ancestors().take_while(|folder| *folder != mount.path()) {
                fs::write(folder.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
            }
        }
        mount
    }

    fn misplaced(populated: &[&str], units: &[(&str, &str)]) -> Vec<(String, String)> {
        let text = units
            .iter()
            .map(|(unit, _)| format!("- {{namespace: a, unit: {unit}}}\n"));
        let text = format!("workloads:\n{}", text.collect::<String>());
        let config = crate::config::Config::parse(&text, Path::new("f")).unwrap();
        let units = config.workloads.iter().filter_map(|entry| match &entry.place {
            crate::config::Place::Unit(unit) => Some((entry.cgroup.as_str().into(), unit.clone())),
            _ => None,
        });
        let mount = mount(populated);
        let mut units = Units::new(units.collect(), mount.path());
        let changes = units.look([].iter());
        let found = changes.into_iter().find_map(|change| match change {
            CgroupChange::Misplaced(found) => Some(found),
            _ => None,
        });
        let found = found.into_iter().flatten();
        found
            .map(|found| (found.unit, found.at.display().to_string()))
            .collect()
    }

    #[test]
    fn unit_outside_its_slice_is_found() {
        let unit = [("app.service", "")];
        assert!(misplaced(&["enforcer.slice/enforcer-app.slice/app.service"], &unit).is_empty());
        assert!(misplaced(&["system.slice/other.service"], &unit).is_empty());
        let found = ("app.service".to_owned(), "/system.slice/app.service".to_owned());
        assert_eq!(misplaced(&["system.slice/app.service"], &unit), [found]);
        // A unit of that name of a user's own is another.
        let own = "user.slice/user-1000.slice/user@1000.service/app.slice/app.service";
        assert!(misplaced(&[own], &unit).is_empty());
    }

    #[test]
    fn instances_are_their_templates_unless_they_are_named() {
        let units = [("worker@.service", ""), ("worker@3.service", "")];
        let found = misplaced(
            &[
                r"enforcer.slice/enforcer-worker\x40.slice/worker@1.service",
                r"enforcer.slice/enforcer-worker\x403.slice/worker@3.service",
                "system.slice/worker@2.service",
            ],
            &units,
        );
        let found: Vec<_> = found.into_iter().map(|(unit, _)| unit).collect();
        assert_eq!(found, ["worker@2.service"]);
    }

    #[test]
    fn cgroup_that_nothing_uses_is_told_with_a_similar_one_after_a_minute() {
        let mount = mount(&["frontend.slice/web.service", "x/beside"]);
        let look = |path: &str, age: Duration| {
            let mut units = Units::new(BTreeMap::new(), mount.path());
            units.start = Instant::now().checked_sub(age).unwrap();
            let changes = units.look([PathBuf::from(path)].iter());
            changes.len()
        };
        assert_eq!(look("/fronted.slice", PATIENCE), 1);
        assert_eq!(look("/fronted.slice", PATIENCE / 2), 0);
        assert_eq!(look("/frontend.slice", PATIENCE), 0, "it is in use");
        assert_eq!(look("/backend-jobs.slice", PATIENCE), 0, "nothing is similar");
        assert_eq!(look("/x/besides", PATIENCE), 1);
    }
}
