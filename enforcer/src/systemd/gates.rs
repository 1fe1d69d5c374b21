//! Lifts the gates of slices that are enforced.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{config::SliceName, control::Status, state};

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

/// Starts slices, so that their cgroups are systemd's own before anything is in them.
///
/// # Errors
/// If systemd does not do it.
pub fn start(slices: &BTreeSet<SliceName>) -> Result<()> {
    if slices.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("systemctl");
    command.arg("start").args(slices.iter().map(SliceName::as_str));
    let status = command.status().context("starting systemctl")?;
    ensure!(status.success(), "systemctl start of the slices failed: {status}");
    Ok(())
}

/// Remembers for this boot that enforcement was in force.
///
/// # Errors
/// If the file cannot be written.
pub fn remember() -> Result<()> {
    let marker = Path::new(state::DEFAULT).join(state::IN_FORCE);
    fs::write(&marker, "").with_context(|| format!("writing {}", marker.display()))
}

/// Whether it was.
pub fn was_in_force() -> bool {
    Path::new(state::DEFAULT).join(state::IN_FORCE).exists()
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
