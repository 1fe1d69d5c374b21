//! Names that workloads learn from answers: who asks, who answers, and who pretends to.
//!
//! ```text
//! message, packet (what is sent)        <- asker (a process in a cgroup, by words)
//!                                      <- stage (two networks, loaded programs) <- honest, forged (the ways)
//! ```
//!
//! It needs no name server, so that a kernel of the matrix has it too; `load`, a workload that asks for ever other
//! names, does.

mod asker;
mod forged;
mod honest;
pub mod load;
pub mod message;
mod packet;
mod stage;

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, Result, ensure};

pub use asker::ARGUMENT;

use crate::servers::networks::in_two_networks;

/// Runs every way to learn, and every way to forge, with the test binary `program`. Returns how many there were of each.
///
/// # Errors
/// Names those that came out otherwise.
pub fn run(program: &Path) -> Result<(usize, usize)> {
    in_two_networks(|networks| {
        let mut stage = stage::Stage::new(program, networks)?;
        let mut wrong = Vec::new();
        for (name, way) in honest::WAYS {
            if let Err(error) = way(&mut stage).and_then(|()| stage.is_learned()) {
                wrong.push(format!("{name}: {error:#}"));
            }
        }
        for (name, way) in forged::WAYS {
            if let Err(error) = way(&mut stage).and_then(|()| stage.is_unlearned()) {
                wrong.push(format!("{name}: {error:#}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok((honest::WAYS.len(), forged::WAYS.len()))
    })
}

/// The asker's main: `CGROUP`.
///
/// # Errors
/// If it cannot join the cgroup, or is asked for something that it does not know.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let cgroup = arguments.next().context("no cgroup is named")?;
    asker::main(Path::new(&cgroup))
}
