//! Lifts the gates of slices that are enforced.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{config::SliceName, control::Status};

/// Those of `gated` that are at or below a root at which enforcement is proven.
pub fn enforced(gated: &BTreeSet<SliceName>, status: &Status) -> BTreeSet<SliceName> {
    let roots: Vec<_> = status.roots.iter().filter(|root| root.is_proven()).collect();
    let is_below = |slice: &&SliceName| {
        let path = slice.path().ok();
        path.is_some_and(|path| {
            roots
                .iter()
                .any(|root| Path::new(path.as_str()).starts_with(&root.path))
        })
    };
    gated.iter().filter(is_below).cloned().collect()
}

/// Lifts a slice's gate until the next boot; systemd keeps that over a `daemon-reload`.
///
/// # Errors
/// If systemd does not do it.
pub fn lift(slice: &SliceName) -> Result<()> {
    let mut command = Command::new("systemctl");
    command.args(["set-property", "--runtime", slice.as_str(), "IPAddressDeny="]);
    let status = command.status().context("starting systemctl")?;
    ensure!(
        status.success(),
        "systemctl set-property {} failed: {status}",
        slice.as_str()
    );
    Ok(())
}
