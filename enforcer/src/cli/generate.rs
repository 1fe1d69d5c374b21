//! `enforcer-generator`: what systemd is told of the configuration, at boot and at each `daemon-reload`.
//!
//! **Architecture Invariant:** it never keeps the machine from booting. What it cannot do is told, and the rest is done.

use std::{io, process::ExitCode};

use anyhow::Result;

use super::{Generate, out};
use crate::{
    config::{SliceName, placements},
    systemd::{drop_ins, gates},
};

pub(super) fn run(arguments: &Generate) -> Result<ExitCode> {
    let file = &arguments.config;
    let (placements, errors) = match placements(file) {
        Ok(read) => read,
        // Without a configuration there is nothing to be enforced. A link to a file system that is not mounted yet is
        // one that cannot be read.
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.symlink_metadata().is_err() => {
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            out::complain(format_args!(
                "error: {}: cannot be read ({error}): no workload is kept from starting unenforced",
                file.display()
            ));
            return Ok(ExitCode::FAILURE);
        }
    };
    let drop_ins = drop_ins::of(&placements, gates::was_in_force());
    let written = drop_ins::write(&drop_ins, &arguments.normal);
    if let Some(errors) = errors {
        for error in errors.to_string().lines() {
            out::complain(format_args!("error: {error}"));
        }
        let gated = drop_ins::gated(&placements);
        let gated: Vec<_> = gated.iter().map(SliceName::as_str).collect();
        out::complain(format_args!(
            "the configuration is wrong: nothing gets out of {} until it is right and enforced, as far as it can be read",
            if gated.is_empty() {
                "no slice".to_owned()
            } else {
                gated.join(", ")
            }
        ));
        return Ok(ExitCode::FAILURE);
    }
    written.map(|()| ExitCode::SUCCESS)
}
