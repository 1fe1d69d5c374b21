//! Makes a release in two clones of the commit, and compares what is made.

use std::{collections::BTreeMap, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};

use super::{Release, sums};
use crate::{
    arch::Arch,
    out::{complain, say},
    process::target_folder,
    tree::Tree,
};

/// Names of different length, so that what is padded by a folder's name is found as well.
const FOLDERS: [&str; 2] = ["once", "once-more-elsewhere"];

/// Fails if a file of one differs from that of the other. The folders stay then, to be looked at.
pub(super) fn run(architectures: &[Arch], is_quick: bool) -> Result<ExitCode> {
    let root = target_folder().join("release-verify");
    remove(&root)?;
    fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    let mut made = Vec::new();
    for name in FOLDERS {
        let folder = root.join(name);
        let tree = Tree::clone_to(&folder)?;
        let out = root.join(format!("{name}-files"));
        Release {
            tree: &tree,
            arch: architectures,
            is_quick,
            out: &out,
        }
        .make()?;
        let text = fs::read_to_string(out.join(sums::FILE)).context("reading the sums")?;
        made.push(text);
        // Gigabytes that nothing asks for any more.
        remove(&folder)?;
    }
    let different = differences(&made[0], &made[1]);
    if different.is_empty() {
        remove(&root)?;
        say!(
            "release: all {} files are the same in both folders",
            made[0].lines().count()
        );
        return Ok(ExitCode::SUCCESS);
    }
    for name in &different {
        say!("FAIL: release: {name} differs");
    }
    complain!("error: what differs is in {}", root.display());
    Ok(ExitCode::FAILURE)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    Ok(())
}

/// Names of files that only one of the sums has, or that they have different digests for.
fn differences(one: &str, other: &str) -> Vec<String> {
    let read = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.split_once("  "));
        lines
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect()
    };
    let (one, other) = (read(one), read(other));
    let mut names: Vec<_> = one.keys().chain(other.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| one.get(name) != other.get(name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_differs_or_is_only_in_one_is_named() {
        let one = "00  a\n11  b\n22  c\n";
        assert!(differences(one, one).is_empty());
        assert_eq!(differences(one, "00  a\n12  b\n33  d\n"), ["b", "c", "d"]);
    }
}
