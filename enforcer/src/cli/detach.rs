//! `enforcer detach`: takes away everything that an enforcer has left, and says so only if it has found something.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::{Detach, out};
use crate::{
    config::{CgroupPath, Config, Roots},
    datapath::{CgroupMount, Pins, Removed, is_attached},
    handover, proof, state,
};

/// How long the kernel may take to detach programs whose last pin is gone: it has a worker do that.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// Where to look.
struct Place {
    bpffs: PathBuf,
    state: PathBuf,
    /// Cgroups of the configuration, from the mount on, at which nothing may be left.
    cgroups: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Detach) -> Result<ExitCode> {
    // Blocked, so that one that comes before it is waited for is not lost; a container's first process would not
    // even be ended by it.
    let ending = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    if arguments.hold {
        ending.thread_block().context("holding signals back")?;
    }
    let outcome = detach(arguments)?;
    if arguments.hold {
        ending.wait().context("waiting for SIGTERM")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(outcome)
}

fn detach(arguments: &Detach) -> Result<ExitCode> {
    let place = Place::of(arguments)?;
    let (bpffs, folder) = (place.bpffs.display(), place.state.display());
    // After a restart of a node, nobody else relieves the one that was started at boot.
    handover::ask(&place.state)?;
    let removed = Pins::remove_all(&place.bpffs)?;
    let files = state::remove(&place.state)?;
    // Where there are no cgroups, there is no canary's either.
    let mount = CgroupMount::find().ok();
    if let Some(mount) = &mount {
        proof::remove_leftovers(mount.path())?;
    }
    let is_nothing = removed == Removed::default() && files == 0;
    if !is_nothing {
        let Removed { links, maps } = removed;
        out::line(format_args!(
            "removed {links} links and {maps} maps below {bpffs}, and {files} files in {folder}"
        ))?;
    }
    let left = mount
        .map(|mount| place.left(&mount))
        .transpose()?
        .unwrap_or_default();
    if !left.is_empty() {
        out::complain(format_args!(
            "error: programs of an enforcer are still attached at {}: a running enforcer holds them, or its pins are \
             in another bpffs \
             than the one that is now mounted at {bpffs}; end that enforcer, or name the bpffs by --bpffs",
            left.join(", ")
        ));
        return Ok(ExitCode::FAILURE);
    }
    if is_nothing && arguments.allow_nothing {
        out::line(format_args!("nothing to remove below {bpffs}"))?;
    } else if is_nothing {
        out::complain(format_args!(
            "error: no pins of an enforcer were found below {bpffs}, and no files in {folder}; nothing was removed: \
             name the folders of the enforcer by --config, or by --bpffs and --state"
        ));
        if !arguments.hold {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn of(arguments: &Detach) -> Result<Self> {
        let Some(file) = &arguments.config else {
            return Ok(Self {
                bpffs: arguments.bpffs.clone(),
                state: arguments.state.clone(),
                cgroups: Vec::new(),
            });
        };
        let config = Config::load(file)?;
        let path = |cgroup: &CgroupPath| PathBuf::from(cgroup.as_str());
        let workloads = config.workloads.iter().map(|entry| path(&entry.cgroup));
        let roots = match &config.roots {
            Roots::EachWorkload => Vec::new(),
            Roots::These(roots) => roots.iter().map(path).collect(),
        };
        Ok(Self {
            cgroups: workloads.chain(roots).collect(),
            bpffs: config.bpffs,
            state: config.state,
        })
    }

    /// Those of the configuration's cgroups at which programs of an enforcer are still attached. Who may not ask the
    /// kernel finds none.
    fn left(&self, mount: &CgroupMount) -> Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let mut left = Vec::new();
            for cgroup in &self.cgroups {
                let folder = mount.folder(cgroup);
                if folder.exists() && is_attached(&folder).unwrap_or(false) {
                    left.push(cgroup.display().to_string());
                }
            }
            if left.is_empty() || start.elapsed() >= PATIENCE {
                return Ok(left);
            }
            std::thread::sleep(GLANCE);
        }
    }
}
