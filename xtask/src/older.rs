//! The enforcer of the last commit whose maps have an older layout, built of this repository's own history: what an
//! upgrade is tried from.
//!
//! Both are kept beside the toolchain, by the commit. A checkout without its history has none, which is said.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::{OBJECT_VARIABLE, toolchain_root};

use crate::{
    out::say,
    process::{answer, cargo, run, workspace},
    unavailable::Unavailable,
};

/// Names the binary to the tests; may be set before.
pub(crate) const VARIABLE: &str = "ENFORCER_OLDER_BINARY";

/// Where the layout has been, last first, and the line that has it.
const FILE: &str = "enforcer/common/src/maps.rs";
const LINE: &str = "pub const LAYOUT: u32";

/// Builds it if it is not there, and says where it is.
pub(crate) fn show() -> Result<ExitCode> {
    say!("{}", get()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds it if it is not there.
///
/// # Errors
/// If the history is not there, or it cannot be built.
pub(crate) fn get() -> Result<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        return Ok(given.into());
    }
    let commit = commit()?;
    let toolchain = toolchain_root().context("there is no place for what is built of an older commit")?;
    let folder = toolchain.with_file_name("older");
    let binary = folder.join(format!("enforcer-{commit}"));
    if !binary.is_file() {
        build(&commit, &folder, &binary).with_context(|| format!("building {commit}"))?;
    }
    Ok(binary)
}

/// The last commit before the layout became what it is.
fn commit() -> Result<String> {
    let missing = |why: &str| Unavailable("an enforcer with an older layout", why.to_owned());
    if git(&["rev-parse", "--is-shallow-repository"]).as_deref() != Some("false") {
        return Err(missing("this checkout does not have the history").into());
    }
    let changed = git(&["log", "-1", "--format=%H", "-G", LINE, "--", FILE]).unwrap_or_default();
    let before = git(&["rev-parse", "--verify", "--quiet", &format!("{changed}^1")]);
    let before = before.ok_or_else(|| missing("the layout has never been another"))?;
    let layout = |of: &str| {
        let text = git(&["show", &format!("{of}:{FILE}")])?;
        layout(&text)
    };
    ensure!(
        layout(&before) < layout("HEAD"),
        "the layout of {before} is not older than that of the last commit"
    );
    Ok(before)
}

/// The number in a version of the file.
fn layout(text: &str) -> Option<u32> {
    let line = text.lines().find(|line| line.starts_with(LINE))?;
    line.trim_end_matches(';').rsplit(' ').next()?.parse().ok()
}

fn build(commit: &str, folder: &Path, binary: &Path) -> Result<()> {
    let source = folder.join("source");
    if source.exists() {
        fs::remove_dir_all(&source).context("removing what an earlier build has left")?;
    }
    fs::create_dir_all(folder)?;
    say!("older: building {commit}, whose maps have the layout before, once");
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-checkout", "--shared"]);
    run(clone.arg(workspace()).arg(&source))?;
    let mut checkout = Command::new("git");
    run(checkout
        .args(["-c", "advice.detachedHead=false", "checkout", "--quiet", commit])
        .current_dir(&source))?;
    let target = folder.join("target");
    let mut build = cargo();
    build
        .args(["build", "--locked", "--package", "enforcer"])
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        // Its programs are its own.
        .env_remove(OBJECT_VARIABLE);
    run(&mut build)?;
    let new = binary.with_extension("new");
    fs::copy(target.join("debug/enforcer"), &new).context("keeping the binary")?;
    fs::rename(&new, binary)?;
    fs::remove_dir_all(&source)?;
    // Nothing but this is built there.
    Ok(fs::remove_dir_all(&target)?)
}

fn git(words: &[&str]) -> Option<String> {
    let said = answer(Command::new("git").args(words).current_dir(workspace()))?;
    Some(said.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_number_of_its_line() {
        assert_eq!(layout("//! x\npub const LAYOUT: u32 = 9;\n"), Some(9));
        assert_eq!(layout("pub const NAMES_LAYOUT: u32 = 1;\n"), None);
        let here = fs::read_to_string(workspace().join(FILE)).unwrap();
        assert!(layout(&here).is_some_and(|layout| layout >= 9));
    }
}
