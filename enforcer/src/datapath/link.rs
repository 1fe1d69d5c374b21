//! Keeps one program running: checks that it runs, and makes it run again.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::Ebpf;
use enforcer_common::CgroupId;

use super::{
    pins,
    program::Program,
    sys::{self, Which},
};

/// A program that runs for as long as this lives, or its pin exists.
pub(super) struct Link {
    pub(super) program: Program,
    pub(super) fd: OwnedFd,
    pub(super) pin: Option<PathBuf>,
}

/// A cgroup at which a link should run its program.
pub(super) struct At<'a> {
    pub(super) id: CgroupId,
    pub(super) folder: &'a File,
}

impl Link {
    /// The identifier of the program, if the kernel says that it runs at the cgroup.
    pub(super) fn running(&self, programs: &mut Ebpf, at: &At<'_>) -> Result<Option<u32>> {
        let attach_type = self.program.attach_type().context("a program of no cgroup")?;
        let program = sys::id(self.program.fd(programs)?).context("asking for a program's identifier")?;
        let attached = sys::attachment(&self.fd).context("asking what a link does")?;
        let effective = sys::programs(at.folder, attach_type, Which::Effective)
            .context("asking for the programs at a cgroup")?;
        let runs = attached.cgroup == at.id.0 && attached.program == program && effective.contains(&program);
        Ok(runs.then_some(program))
    }

    /// Makes the program run at its cgroup again.
    pub(super) fn resume(&mut self, programs: &mut Ebpf, at: &At<'_>) -> Result<()> {
        // A detached link stays detached, and refuses another program: a new link replaces it.
        if sys::update_link(&self.fd, self.program.fd(programs)?).is_err()
            || self.running(programs, at)?.is_none()
        {
            self.fd = self.program.attach(programs, at.folder)?;
        }
        Ok(())
    }

    /// Pins it again if its pin is gone; returns whether that was necessary.
    pub(super) fn pin_again(&self) -> Result<bool> {
        self.pin
            .as_deref()
            .map_or(Ok(false), |path| pin_again(&self.fd, path))
    }
}

/// Pins an object at `path` unless it is pinned there; returns whether that was necessary. Creates missing folders
/// again.
pub(super) fn pin_again(object: &OwnedFd, path: &Path) -> Result<bool> {
    match sys::open_pin(path) {
        Ok(there) if sys::id(&there)? == sys::id(object)? => return Ok(false),
        Ok(_) => fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().context("a pin lies in a folder")?;
            pins::create(folder)?;
        }
        Err(error) => return Err(error).with_context(|| format!("opening {}", path.display())),
    }
    sys::pin(object, path).with_context(|| format!("pinning {}", path.display()))?;
    Ok(true)
}
