//! The kernel's modules that came with the test, in the root of its file system.

use std::fs;

use anyhow::{Context as _, Result};
use nix::{errno::Errno, kmod::init_module};

/// Loads them in the order of their names. What a module brings is missed by what needs it, which says so: here it
/// is only told why.
///
/// # Errors
/// If the root cannot be read.
pub(super) fn load() -> Result<()> {
    let mut files: Vec<_> = fs::read_dir("/")
        .context("looking for modules")?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ko"));
    files.sort();
    for file in files {
        let image = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        match init_module(&image, c"") {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => eprintln!("the module {} is not loaded: {error}", file.display()),
        }
    }
    Ok(())
}
