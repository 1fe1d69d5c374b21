//! Lifts the gates of slices that are enforced.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use enforcer_core::model::Enforcement;

use crate::{
    config::{Place, Placement, ServiceName, SliceName},
    control::Status,
    state,
};

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

/// The units that run outside of their slices: an alias, or one that was started before it was configured. What the enforcer
/// finds by the names of cgroups is without aliases. Each with what is said of it.
pub fn misplaced(placements: &[Placement]) -> Vec<(String, String)> {
    let units = placements.iter().filter_map(|it| match &it.place {
        Place::Unit(unit) if it.mode != Enforcement::Off => Some(unit),
        _ => None,
    });
    let is_misplaced = |unit: &&ServiceName| {
        let slice = unit.slice().path().ok();
        let cgroup = control_group(unit);
        matches!((slice, cgroup), (Some(slice), Some(cgroup)) if !Path::new(&cgroup).starts_with(slice.as_str()))
    };
    units
        .filter(is_misplaced)
        .map(|unit| {
            let (unit, slice) = (unit.as_str(), unit.slice());
            let problem = format!(
                "{unit} runs outside of {}, where nothing enforces it, until `systemctl restart {unit}`",
                slice.as_str()
            );
            (unit.to_owned(), problem)
        })
        .collect()
}

/// Where a unit runs, if it does.
fn control_group(unit: &ServiceName) -> Option<String> {
    let mut command = Command::new("systemctl");
    command.args(["show", "--property", "ControlGroup", "--value", unit.as_str()]);
    let output = command.output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!path.is_empty()).then_some(path)
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
