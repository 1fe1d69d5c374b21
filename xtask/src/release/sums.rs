//! `SHA256SUMS`, as `sha256sum --check` reads it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

/// The file's name.
pub(super) const FILE: &str = "SHA256SUMS";

/// Writes the sums of all files that are there, by name, and returns the text.
pub(super) fn write(folder: &Path) -> Result<String> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.file_name().expect("an entry of a folder has a name");
        let name = name.to_str().context("a file's name is no text")?.to_owned();
        sums.insert(name, Sha256::digest(&bytes));
    }
    let mut text = String::new();
    for (name, sum) in sums {
        for byte in sum {
            write!(text, "{byte:02x}")?;
        }
        writeln!(text, "  {name}")?;
    }
    fs::write(folder.join(FILE), &text).with_context(|| format!("writing {FILE}"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_by_name_and_as_sha256sum_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "").unwrap();
        fs::write(folder.path().join("a"), "abc").unwrap();
        let text = write(folder.path()).unwrap();
        assert_eq!(
            text,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n"
        );
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), text);
    }
}
