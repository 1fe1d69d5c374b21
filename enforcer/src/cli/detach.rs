//! `enforcer detach`: takes away everything that an enforcer has left.

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

use super::{Detach, out};
use crate::{
    config::Config,
    datapath::{CgroupMount, Pins, Removed},
    proof, state,
};

pub(super) fn run(arguments: &Detach) -> Result<()> {
    // Blocked, so that one that comes before it is waited for is not lost; a container's first process would not
    // even be ended by it.
    let ending = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    if arguments.hold {
        ending.thread_block().context("holding signals back")?;
    }
    let (bpffs, folder) = match &arguments.config {
        Some(file) => {
            let config = Config::load(file)?;
            (config.bpffs, config.state)
        }
        None => (arguments.bpffs.clone(), arguments.state.clone()),
    };
    let removed = Pins::remove_all(&bpffs)?;
    let files = state::remove(&folder)?;
    // Where there are no cgroups, there is no canary's either.
    if let Ok(mount) = CgroupMount::find() {
        proof::remove_leftovers(mount.path())?;
    }
    match (removed, files) {
        (Removed { links: 0, maps: 0 }, 0) => {
            out::line(format_args!("nothing to remove below {}", bpffs.display()))?;
        }
        (Removed { links, maps }, files) => out::line(format_args!(
            "removed {links} links and {maps} maps below {}, and {files} files in {}",
            bpffs.display(),
            folder.display()
        ))?,
    }
    if arguments.hold {
        ending.wait().context("waiting for SIGTERM")?;
    }
    Ok(())
}
