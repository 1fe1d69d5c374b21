//! What is checked in each kernel.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{CgroupMount, Datapath, Hardening, Options, Pins, VERIFIER_LIMIT, is_enforced};
use enforcer_common::{Mode, Settings, Transport};
use enforcer_core::settings::Matching;

use super::{
    beside::beside,
    escapes::escapes,
    kernel::Kernel,
    lent::is_told,
    mounts::BPFFS,
    report::{Done, Measured},
    sequences::sequences,
    servers,
};
use crate::{
    case,
    daemon::wait,
    fixture::{TestCgroup, in_own_network},
    kernel::Executor,
    naming,
    probe::{Outcome, Probe},
};

type Check = fn(&Kernel) -> Result<Done>;

/// Every check, in the order of the table that is printed. The escapes and the random sequences are last: they
/// try what the ones before have shown to be enforced at all.
pub(super) const CHECKS: [(&str, Check); 13] = [
    ("load", load),
    ("closures", closures),
    ("lent", lent),
    ("errno", errno),
    ("pins", pins),
    ("instructions", instructions),
    ("rows", rows),
    ("beside", beside),
    ("servers", servers::datagrams),
    ("accepted", servers::accepted),
    ("names", names),
    ("ways", escapes),
    ("sequences", sequences),
];

/// An address in a range for documentation, which is nobody's.
const ELSEWHERE: &str = "192.0.2.1:80";

/// What a refused call returns where the kernel lets the programs choose.
const ERRNO: i32 = libc::EHOSTUNREACH;

/// Every process is unknown, and unknown ones are refused.
const SETTINGS: Settings = Settings {
    errno: ERRNO.unsigned_abs(),
    ..Settings::STRICT
};

/// With the capacities that the daemon has by default, and with the programs' log compiled in.
fn load(_: &Kernel) -> Result<Done> {
    let root = TestCgroup::new()?;
    for debug in [false, true] {
        let options = Options {
            debug,
            ..Options::default()
        };
        let (mut datapath, _events) = Datapath::load(None, options, SETTINGS)?;
        attach(&mut datapath, &root)?;
        ensure!(
            is_enforced(root.folder())?,
            "the kernel does not say that the programs run at the cgroup"
        );
    }
    Ok(Done::Passed("all programs loaded and attached".into()))
}

/// Closures that every kernel has; those from 6.1 on have all.
const FLOOR: [&str; 3] = ["sock_create", "mark_source", "egress"];

/// What is closed beyond rules.
fn closures(kernel: &Kernel) -> Result<Done> {
    let root = TestCgroup::new()?;
    let (mut datapath, _events) = Datapath::load(None, Options::default(), SETTINGS)?;
    attach(&mut datapath, &root)?;
    let closures = datapath.closures();
    let absent = closures.iter().filter(|closure| closure.absent.is_some());
    let absent: Vec<_> = absent.collect();
    let lines: Vec<_> = absent.iter().map(ToString::to_string).collect();
    let may_be_absent = |program| kernel.is_before(6, 1) && !FLOOR.contains(&program);
    ensure!(
        absent.iter().all(|closure| may_be_absent(closure.program)),
        "{}",
        lines.join("\n")
    );
    Ok(if absent.is_empty() {
        Done::Passed(format!("all {}", closures.len()))
    } else {
        Done::Skipped(lines.join("\n"))
    })
}

/// A socket from outside is told of where it is let through on trial.
fn lent(kernel: &Kernel) -> Result<Done> {
    let root = TestCgroup::new()?;
    let settings = Settings {
        unknown: Mode::Audit as u32,
        ..SETTINGS
    };
    let (mut datapath, events) = Datapath::load(None, Options::default(), settings)?;
    attach(&mut datapath, &root)?;
    let mut closures = datapath.closures().iter();
    if let Some(closure) =
        closures.find(|closure| closure.program == "lsm_connect" && closure.absent.is_some())
    {
        ensure!(kernel.is_before(6, 1), "{closure}");
        return Ok(Done::Skipped(closure.to_string()));
    }
    is_told(&datapath, events, &root)?;
    Ok(Done::Passed(
        "a socket from outside is told of in audit mode".into(),
    ))
}

fn errno(kernel: &Kernel) -> Result<Done> {
    let root = TestCgroup::new()?;
    let (mut datapath, _events) = Datapath::load(None, Options::default(), SETTINGS)?;
    ensure!(
        attempt(kernel, &root)? == Outcome::Through,
        "refused before anything is attached"
    );
    attach(&mut datapath, &root)?;
    let can_choose = datapath.features().set_retval;
    ensure!(
        can_choose || kernel.is_before(5, 18),
        "bpf_set_retval is not found, which kernels have from 5.18"
    );
    let expected = if can_choose { ERRNO } else { libc::EPERM };
    let outcome = attempt(kernel, &root)?;
    ensure!(
        outcome == Outcome::Refused(expected),
        "a refused connect is {outcome:?}"
    );
    Ok(Done::Passed(if can_choose {
        "as configured".into()
    } else {
        "always EPERM: no bpf_set_retval before 5.18".into()
    }))
}

/// Enforcement outlives the process that loaded it, and another takes it up.
fn pins(kernel: &Kernel) -> Result<Done> {
    let root = TestCgroup::new()?;
    let bpffs = Path::new(BPFFS);
    for start in 0..2 {
        let options = Options::default();
        let pins = Pins::open(bpffs, &options.capacities)?;
        let (mut datapath, events) = Datapath::load(Some(pins), options, SETTINGS)?;
        attach(&mut datapath, &root)?;
        datapath.keep_pins();
        drop((datapath, events));
        ensure!(
            matches!(attempt(kernel, &root)?, Outcome::Refused(_)),
            "start {start}: nothing is refused once the loader is gone"
        );
    }
    let removed = Pins::remove_all(bpffs)?;
    ensure!(
        removed.links > 0 && removed.maps > 0,
        "nothing was pinned: {removed:?}"
    );
    // The kernel detaches some time after the last pin is gone (`bpf_link_put` has a worker do it).
    wait("detached program", || {
        Ok(attempt(kernel, &root)? == Outcome::Through)
    })?;
    Ok(Done::Passed(format!(
        "{} links and {} maps outlive the loader",
        removed.links, removed.maps
    )))
}

/// Programs without which nothing is enforced.
const NEEDED: usize = 4;

/// Four fifths of half of what the verifier takes: what it counts differs between kernels and compilers.
fn instructions(kernel: &Kernel) -> Result<Done> {
    const MOST: u32 = VERIFIER_LIMIT / 2 / 5 * 4;
    let mut figures = Vec::new();
    for debug in [false, true] {
        let options = Options {
            debug,
            ..Options::default()
        };
        let (datapath, _events) = Datapath::load(None, options, SETTINGS)?;
        let counts = datapath.verified_instructions()?;
        let closures = datapath.closures().iter();
        let present = closures.filter(|closure| closure.absent.is_none()).count();
        ensure!(
            counts.len() == NEEDED + present,
            "{NEEDED} programs and {present} closures are loaded, and {} are counted",
            counts.len()
        );
        for (name, count) in counts {
            let Some(count) = count else {
                ensure!(
                    kernel.is_before(5, 16),
                    "the kernel does not count for {name}, which it does from 5.16"
                );
                return Ok(Done::Skipped("kernels before 5.16 do not say".into()));
            };
            let name = if debug { format!("{name}+log") } else { name };
            ensure!(count <= MOST, "{name}: {count} instructions, more than {MOST}");
            figures.push((name, count));
        }
    }
    let most = figures.iter().map(|(_, count)| count).max().copied();
    let most = most.unwrap_or_default();
    Ok(Done::Measured(Measured {
        text: format!("at most {most}"),
        figures,
        remarks: Vec::new(),
    }))
}

/// Addresses are learned from answers, and from nothing that pretends to be one.
fn names(kernel: &Kernel) -> Result<Done> {
    let (datapath, _events) = Datapath::load(None, Options::default(), SETTINGS)?;
    let is_absent =
        |closure: &&Hardening| matches!(closure.program, "ask" | "learn") && closure.absent.is_some();
    if let Some(closure) = datapath.closures().iter().find(is_absent) {
        ensure!(kernel.is_before(5, 17), "{closure}");
        return Ok(Done::Skipped(closure.to_string()));
    }
    drop(datapath);
    let (honest, forged) = naming::run(&kernel.program)?;
    Ok(Done::Passed(format!("{honest} ways to learn, {forged} to forge")))
}

fn rows(kernel: &Kernel) -> Result<Done> {
    let cases = case::all()?;
    let (mut rows, mut failures) = (0, Vec::new());
    in_own_network(|| {
        let mut executor = Executor::new(&kernel.program)?;
        for matching in [Matching::Declared, Matching::Istio] {
            for (file, case) in &cases {
                match executor.run(case, matching) {
                    Ok(count) => rows += count,
                    Err(error) => failures.push(format!("{file}: {error:#}")),
                }
            }
        }
        Ok(())
    })?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(rows > 0, "the table has no rows");
    Ok(Done::Passed(format!("{rows} rows")))
}

fn attach(datapath: &mut Datapath, root: &TestCgroup) -> Result<()> {
    let cgroup = CgroupMount::find()?.cgroup(root.path())?;
    datapath.attach(&cgroup.context("it was just made")?).map(|_| ())
}

/// A TCP connect from a cgroup below `root`.
fn attempt(kernel: &Kernel, root: &TestCgroup) -> Result<Outcome> {
    let folder = root.child("somebody")?;
    let to: SocketAddr = ELSEWHERE.parse().context("an address")?;
    in_own_network(|| Probe::start(&kernel.program, &folder)?.call(Transport::Tcp, to))
}
