//! The second executor: real sockets of real processes in real cgroups, against the loaded programs.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{Capacities, CgroupMount, Datapath, Options};
use enforcer_common::{Mode, Settings, Verdict};
use enforcer_core::{
    plan::{Applied, diff},
    registry::{Matching, Registry, Update},
};

use crate::{
    case::{Case, Row, Who},
    ground::{TestCgroup, in_own_network},
    probe::{Outcome, Probe},
};

/// Capacities that suffice for a case and are made quickly.
const SMALL: Capacities = Capacities {
    workloads: 256,
    policies: 64,
    exact: 4096,
    prefixes: 1024,
    ports: 1024,
};

/// Runs a case, and returns how many rows it has.
///
/// # Errors
/// Names every row with another outcome.
pub fn run(case: &Case, matching: Matching, probe: &Path) -> Result<usize> {
    let root = TestCgroup::new()?;
    let mut registry = Registry::new(case.settings(matching));
    case.updates()?
        .into_iter()
        .for_each(|update| registry.apply(update));
    let mount = CgroupMount::find()?;
    let mut depths = Vec::new();
    for name in case.workloads.keys() {
        root.child(name)?;
        let cgroup = mount
            .cgroup(&root.path().join(name))?
            .context("it was just made")?;
        depths.push(cgroup.depth);
        registry.apply(Update::Workload(cgroup.id, case.workload(name)?));
    }
    let settings = Settings {
        errno: libc::EPERM.unsigned_abs(),
        depth_min: depths.iter().copied().min().unwrap_or(1),
        depth_max: depths.iter().copied().max().unwrap_or(1),
        unknown: Mode::Enforce as u32,
        sockets: 0,
    };
    let options = Options {
        capacities: SMALL,
        debug: false,
    };
    let (mut datapath, _events) = Datapath::load(None, options, settings)?;
    let plan = diff(&Applied::default(), &registry.desired());
    datapath.carry_out(&plan.changes)?;
    ensure!(
        datapath.read_back()? == plan.after,
        "{}: the maps do not hold what was written",
        case.name
    );
    datapath.attach(&mount.cgroup(root.path())?.context("it was just made")?)?;

    let rows = case.rows()?;
    let failures = in_own_network(|| failures(&rows, matching, &root, probe))?;
    ensure!(failures.is_empty(), "{}:\n  {}", case.name, failures.join("\n  "));
    Ok(rows.len())
}

fn failures(rows: &[Row], matching: Matching, root: &TestCgroup, program: &Path) -> Result<Vec<String>> {
    let outside = TestCgroup::new()?;
    let mut probes = BTreeMap::new();
    let mut failures = Vec::new();
    for row in rows {
        let folder = match &row.who {
            Who::Workload(name, None) => root.child(name)?,
            Who::Workload(name, Some(nested)) => root.child(Path::new(name).join(nested))?,
            Who::Unknown => root.child("nobody")?,
            Who::Outside => outside.folder().to_owned(),
        };
        let probe = match probes.entry(folder) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let probe = Probe::start(program, entry.key())?;
                entry.insert(probe)
            }
        };
        let expected = match row.verdict(matching) {
            Verdict::Deny => Outcome::Refused(libc::EPERM),
            Verdict::Allow | Verdict::Audit => Outcome::Through,
        };
        match probe.call(row.transport, row.address) {
            Ok(outcome) if outcome == expected => {}
            Ok(outcome) => failures.push(format!("{}\n    is {outcome:?} under {matching:?}", row.text)),
            Err(error) => failures.push(format!("{}\n    {error:#}", row.text)),
        }
    }
    Ok(failures)
}
