//! Ends the processes of a sandbox, and takes away what it has made.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{place, place::Place};
use crate::proof;

/// How long killed processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
const GLANCE: Duration = Duration::from_millis(2);

/// Ends all processes of the sandbox but this one, the command's first, and removes its cgroups and its folder.
///
/// # Errors
/// If a process does not end, or something cannot be removed.
pub(super) fn take_away(place: &Place) -> Result<()> {
    end_all(&place.below_mount(&place.command()))?;
    let guard = place.below_mount(&place.guard());
    end_others(&guard)?;
    // A cgroup with this process in it cannot be removed, and the caller's may be gone.
    if processes(&guard).contains(&own()) {
        fs::write(place.mount.join("cgroup.procs"), "0").context("leaving the sandbox's cgroup")?;
    }
    let cgroup = place.below_mount(&place.cgroup);
    remove_cgroup(&cgroup).with_context(|| format!("removing the cgroup {}", cgroup.display()))?;
    // Nothing is mounted where this process has other mounts than the sandbox.
    umount2(&place.bpffs(), MntFlags::MNT_DETACH).ok();
    match fs::remove_dir_all(&place.folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", place.folder.display()))
        }
        _ => Ok(()),
    }
}

/// The same, and removes the folder of all sandboxes after the last one.
pub(super) fn take_away_and_leave(place: &Place) -> Result<()> {
    take_away(place)?;
    place::leave()
}

/// Kills all processes in a cgroup and below it, and waits until there are none; says how many there were.
///
/// # Errors
/// If one does not end.
pub(super) fn end_all(cgroup: &Path) -> Result<usize> {
    // The self-proof's own are none of the command's.
    let is_canary = |cgroup: &Path| cgroup.file_name() == Some(proof::CGROUP.as_ref());
    let of_command = tree(cgroup).into_iter().filter(|cgroup| !is_canary(cgroup));
    let count = of_command.map(|cgroup| processes(&cgroup).len()).sum();
    let deadline = Instant::now() + PATIENCE;
    while is_populated(cgroup) {
        // Since 5.14. Before, frozen processes start no others, and are killed all the same.
        if fs::write(cgroup.join("cgroup.kill"), "1").is_err() {
            fs::write(cgroup.join("cgroup.freeze"), "1").ok();
            tree(cgroup)
                .iter()
                .flat_map(|cgroup| processes(cgroup))
                .for_each(end);
        }
        wait(deadline, cgroup)?;
    }
    Ok(count)
}

/// Kills all processes in a cgroup but this one.
fn end_others(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut others = processes(cgroup);
        others.retain(|pid| *pid != own());
        if others.is_empty() {
            return Ok(());
        }
        others.into_iter().for_each(end);
        wait(deadline, cgroup)?;
    }
}

fn wait(deadline: Instant, cgroup: &Path) -> Result<()> {
    if Instant::now() >= deadline {
        bail!("processes in {} do not end within {PATIENCE:?}", cgroup.display());
    }
    thread::sleep(GLANCE);
    Ok(())
}

fn own() -> i32 {
    std::process::id().cast_signed()
}

/// One that has ended meanwhile is none that has to.
fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
}

/// The processes in a cgroup; those of other PID namespaces have no number.
fn processes(cgroup: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let pids = listed.lines().filter_map(|pid| pid.parse().ok());
    pids.filter(|pid| *pid > 0).collect()
}

fn is_populated(cgroup: &Path) -> bool {
    let events = fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
    events.lines().any(|line| line == "populated 1")
}

/// A cgroup and all below it, itself first.
fn tree(cgroup: &Path) -> Vec<PathBuf> {
    let mut found = vec![cgroup.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(folders.map(|entry| entry.path()));
        next += 1;
    }
    found
}

/// Removes a cgroup with those below it. The kernel lets go of the last process a moment after it has ended.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    for folder in tree(cgroup).iter().rev() {
        loop {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => wait(deadline, folder)?,
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                _ => break,
            }
        }
    }
    Ok(())
}
