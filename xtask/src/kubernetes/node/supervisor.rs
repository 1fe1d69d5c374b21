//! The part of a node that stays on the machine: it starts the node's first process, and takes away what the node
//! leaves when that has ended by itself.

use std::fs::OpenOptions;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use super::{Up, place::Place};
use crate::{kubernetes::running::Running, out::complain};

/// Runs until the node has ended.
pub(super) fn run(asked: &Up) -> Result<()> {
    let place = Place::find(&asked.dir)?;
    Running::note(&place.supervisor(), std::process::id())?;
    // The next child is the first process of the new namespace, and all others there end with it.
    unshare(CloneFlags::CLONE_NEWPID).context("making a namespace of processes")?;
    let mut init = asked
        .tied_stage("init", &place)?
        .spawn()
        .context("starting the node's first process")?;
    Running::note(&place.init(), init.id())?;
    close_stdout()?;
    let status = init.wait().context("waiting for the node")?;
    complain!("the node has ended ({status})");
    // A command that is at work takes it away itself.
    if let Some(_lock) = place.try_lock() {
        place.clear()?;
    }
    Ok(())
}

/// Leaves standard output to others: whoever reads it waits until nobody may write to it.
pub(super) fn close_stdout() -> Result<()> {
    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(nowhere).context("closing standard output")
}
