//! The second executor: real sockets of real processes in real cgroups, against the loaded programs.
//!
//! The programs are loaded once, and every case is a change from the one before, as registries change under a daemon.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{Capacities, CgroupMount, Datapath, Events, Options};
use enforcer_common::{Settings, Verdict};
use enforcer_core::{
    plan::diff,
    registry::{Registry, Update},
    settings::Matching,
};

use crate::{
    case::{Case, Who},
    fixture::TestCgroup,
    probe::{Outcome, Probe},
};

/// Capacities that suffice for a case and are made quickly.
const SMALL: Capacities = Capacities {
    workloads: 256,
    policies: 64,
    exact: 4096,
    prefixes: 1024,
    ports: 1024,
    hosts: 1024,
};

/// The loaded programs, the cgroups that they decide for, and the processes in those.
pub struct Executor {
    // Dropped in this order: processes before the cgroups that they are in.
    probes: BTreeMap<PathBuf, Probe>,
    datapath: Datapath,
    _events: Events,
    mount: CgroupMount,
    /// Below the test's own cgroup.
    root: Root,
    outside: TestCgroup,
    program: PathBuf,
}

/// The enforced cgroup: the test's own, or one below it.
struct Root {
    cgroup: TestCgroup,
    below: PathBuf,
}

impl Root {
    fn path(&self) -> PathBuf {
        self.cgroup.path().join(&self.below)
    }

    fn child(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.cgroup.child(self.below.join(path))
    }
}

impl Executor {
    /// Loads the programs. `program` is the test binary; its sockets are opened in this thread's network.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub fn new(program: &Path) -> Result<Self> {
        Self::below(program, Path::new(""))
    }

    /// The same, with the enforced cgroup at a path below the test's own.
    ///
    /// # Errors
    /// If the kernel refuses something.
    pub fn below(program: &Path, path: &Path) -> Result<Self> {
        let options = Options {
            capacities: SMALL,
            debug: false,
        };
        let (cgroup, outside) = (TestCgroup::new()?, TestCgroup::new()?);
        let root = Root {
            cgroup,
            below: path.to_owned(),
        };
        root.child("")?;
        let mount = CgroupMount::find()?;
        let (mut datapath, events) = Datapath::load(None, options, Settings::STRICT)?;
        datapath.attach(&mount.cgroup(&root.path())?.context("it was just made")?)?;
        Ok(Self {
            probes: BTreeMap::new(),
            datapath,
            _events: events,
            mount,
            root,
            outside,
            program: program.to_owned(),
        })
    }

    /// Runs a case, and returns how many rows it has.
    ///
    /// # Errors
    /// Names every row with another outcome.
    pub fn run(&mut self, case: &Case, matching: Matching) -> Result<usize> {
        if !case.given.is_empty() {
            // How a workload is told is what `tests::naming` and the tests of the daemon are about.
            return Ok(0);
        }
        self.apply(case, matching)?;
        self.check(case, matching)
    }

    /// Tries the rows of the case that was applied last, and returns how many it has.
    ///
    /// # Errors
    /// Names every row with another outcome.
    pub fn check(&mut self, case: &Case, matching: Matching) -> Result<usize> {
        let rows = case.rows()?;
        let mut failures = Vec::new();
        for row in &rows {
            let expected = match row.verdict(matching) {
                Verdict::Deny => Outcome::Refused(libc::EPERM),
                Verdict::Allow | Verdict::Audit => Outcome::Through,
            };
            match self.probe(&row.who)?.call(row.transport, row.address) {
                Ok(outcome) if outcome == expected => {}
                Ok(outcome) => failures.push(format!("{}\n    is {outcome:?} under {matching:?}", row.text)),
                Err(error) => failures.push(format!("{}\n    {error:#}", row.text)),
            }
        }
        ensure!(failures.is_empty(), "{}:\n  {}", case.name, failures.join("\n  "));
        Ok(rows.len())
    }

    /// Makes the maps hold what the case comes to.
    ///
    /// # Errors
    /// If the case is none, or the kernel refuses something.
    pub fn apply(&mut self, case: &Case, matching: Matching) -> Result<()> {
        let mut registry = Registry::new(case.settings(matching));
        case.updates()?
            .into_iter()
            .for_each(|update| registry.apply(update));
        let mut depths = Vec::new();
        for name in case.workloads.keys() {
            self.root.child(name)?;
            let cgroup = self.mount.cgroup(&self.root.path().join(name))?;
            let cgroup = cgroup.context("it was just made")?;
            depths.push(cgroup.depth);
            registry.apply(Update::Workload(cgroup.id, case.workload(name)?));
        }
        let least = depths.iter().copied().min().unwrap_or(1);
        let most = depths.iter().copied().max().unwrap_or(1);
        self.datapath.set_depths(least..=most)?;
        let plan = diff(&self.datapath.read_back()?, &registry.desired());
        self.datapath.carry_out(&plan.changes)?;
        ensure!(
            self.datapath.read_back()? == plan.after,
            "{}: the maps do not hold what was written",
            case.name
        );
        Ok(())
    }

    /// Ends the enforcer, and leaves its cgroups.
    pub fn end(self) -> impl Sized {
        let Self {
            probes,
            datapath,
            root,
            outside,
            ..
        } = self;
        drop((probes, datapath));
        (root.cgroup, outside)
    }

    /// The folder of a workload's cgroup.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn workload(&self, name: &str) -> Result<PathBuf> {
        self.root.child(name)
    }

    /// The process that calls for somebody.
    fn probe(&mut self, who: &Who) -> Result<&mut Probe> {
        let folder = match who {
            Who::Workload(name, None) => self.root.child(name)?,
            Who::Workload(name, Some(nested)) => self.root.child(Path::new(name).join(nested))?,
            Who::Unknown => self.root.child("nobody")?,
            Who::Outside => self.outside.folder().to_owned(),
        };
        Ok(match self.probes.entry(folder) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let probe = Probe::start(&self.program, entry.key())?;
                entry.insert(probe)
            }
        })
    }
}
