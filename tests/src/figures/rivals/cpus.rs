//! On which processors something runs, and how long it has run on them.

use std::{fs, process::Child, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::clock_getcpuclockid,
    unistd::Pid,
};

use super::servers::PORTS;

/// A processor's number.
pub(super) type Cpu = usize;

/// The processors that this process may run on, as many as there are servers for.
pub(super) fn all() -> Result<Vec<Cpu>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("asking for processors")?;
    let is_ours = |cpu: &Cpu| set.is_set(*cpu).unwrap_or(false);
    Ok((0..CpuSet::count()).filter(is_ours).take(PORTS.into()).collect())
}

/// Keeps this thread on these processors.
pub(super) fn pin(cpus: &[Cpu]) -> Result<()> {
    keep(Pid::from_raw(0), cpus)
}

/// Keeps another process, with all of its threads, on these processors.
pub(super) fn pin_process(process: &Child, cpus: &[Cpu]) -> Result<()> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).context("it has ended")?;
    for task in tasks {
        keep(Pid::from_raw(task?.file_name().to_string_lossy().parse()?), cpus)?;
    }
    Ok(())
}

fn keep(task: Pid, cpus: &[Cpu]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
    sched_setaffinity(task, &set).context("choosing processors")
}

/// How long this process and others have run.
pub(super) fn time(others: &[Child]) -> Result<Duration> {
    let others = others.iter().map(|child| Pid::from_raw(child.id().cast_signed()));
    let mut sum = Duration::ZERO;
    for process in std::iter::once(Pid::this()).chain(others) {
        sum += Duration::from(clock_getcpuclockid(process)?.now()?);
    }
    Ok(sum)
}
