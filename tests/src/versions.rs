//! An enforcer of another version: of this source, with another layout of its maps.

use std::{env, fs};

use anyhow::Result;
use enforcer::datapath::pretend_layout;

use crate::daemon::Place;

/// Variable of the process's environment that makes it one: [`NEXT`] or [`STRANGE`].
pub const VARIABLE: &str = "ENFORCER_TEST_VERSION";

/// Another layout, with the same maps of what was learned.
pub const NEXT: &str = "next";

/// Another layout, with other maps of what was learned too.
pub const STRANGE: &str = "strange";

/// Makes this process one, if it is to be.
pub fn pretend() {
    match env::var(VARIABLE).as_deref() {
        Ok(NEXT) => pretend_layout(1, false),
        Ok(STRANGE) => pretend_layout(2, true),
        _ => {}
    }
}

/// The layouts of the maps that are pinned in a place.
///
/// # Errors
/// If they cannot be read.
pub fn layouts(place: &Place) -> Result<Vec<String>> {
    let entries = fs::read_dir(place.bpffs().join("enforcer"))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    let layout = |name: &String| {
        let (version, _) = name.split_once('-')?;
        version.starts_with('v').then(|| version.to_owned())
    };
    Ok(names.iter().filter_map(layout).collect())
}
