//! Cgroups that commands make on this machine, and take away.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// Where cgroup v2 is mounted.
///
/// # Errors
/// If it is not.
pub(crate) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let mount = mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        (fields.get(2) == Some(&"cgroup2")).then(|| PathBuf::from(fields[1]))
    });
    mount.context("no cgroup v2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` adds one")
}

/// Removes a cgroup with those below it, if it is there, and ends the processes that are in them.
///
/// # Errors
/// If one of them does not end.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    // `cgroup.kill` came with 5.14; before it the namespaces' end is waited for.
    match fs::write(folder.join("cgroup.kill"), "1") {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::PermissionDenied =>
        {
            return Err(error);
        }
        _ => {}
    }
    let children = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        children => children?,
    };
    for child in children {
        let child = child?;
        if child.file_type()?.is_dir() {
            remove(&child.path())?;
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        }
    }
}
