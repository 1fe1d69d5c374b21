//! Stores in a file up to which version each source was followed. The next start then requests nothing older than
//! the state that it finds in force.
//!
//! The file is written in place, at once, and before the changes are passed on; it is a few bytes, without waiting
//! for the disk. A crash of the machine may damage it, but also ends what was in force: without the file, everything
//! is listed again.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// By the source's name.
type Newest = BTreeMap<String, u64>;

#[derive(Debug)]
pub(super) struct Versions {
    /// The versions from an earlier run.
    earlier: Newest,
    kept: Option<Newest>,
    file: Option<(PathBuf, File)>,
}

impl Versions {
    /// Reads what an earlier run has stored; nothing if there is no file or it cannot be read.
    pub(super) fn open(path: Option<&Path>) -> Self {
        let (file, earlier) = match path.map(open).transpose() {
            Ok(opened) => opened.unzip(),
            Err(error) => {
                let path = path.unwrap_or(Path::new("")).display();
                tracing::warn!(
                    "cannot write {path}, the newest versions that were seen ({error}): enforcement is not affected, \
                     and the next start lists everything from etcd"
                );
                (None, None)
            }
        };
        Self {
            earlier: earlier.unwrap_or_default(),
            kept: None,
            file: file.zip(path).map(|(file, path)| (path.to_owned(), file)),
        }
    }

    /// The newest version of a source's objects that an earlier run has passed on, as far as known.
    pub(super) fn earlier(&self, source: &str) -> Option<u64> {
        self.earlier.get(source).copied()
    }

    /// Stores the present versions.
    pub(super) fn keep(&mut self, newest: Newest) {
        if self.kept.as_ref() == Some(&newest) {
            return;
        }
        let Some((path, file)) = &self.file else { return };
        match write(file, &newest) {
            Ok(()) => self.kept = Some(newest),
            Err(error) => {
                // The file may be older than what comes into force now.
                let removed = fs::remove_file(path).err();
                let left = removed.map_or(String::new(), |error| format!(", nor removed: {error}"));
                tracing::warn!(
                    "cannot write {}, the newest versions that were seen ({error}{left}): enforcement is not \
                     affected, and the next start lists everything from etcd",
                    path.display()
                );
                self.file = None;
            }
        }
    }
}

fn open(path: &Path) -> io::Result<(File, Newest)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let mut text = Vec::new();
    (&file).read_to_end(&mut text)?;
    let earlier = serde_json::from_slice(&text).unwrap_or_else(|error| {
        // A new file is empty.
        if !text.is_empty() {
            tracing::warn!(
                "cannot read {}, the newest versions that an earlier run has seen ({error}): everything is listed \
                 from etcd",
                path.display()
            );
        }
        Newest::new()
    });
    Ok((file, earlier))
}

fn write(file: &File, newest: &Newest) -> io::Result<()> {
    let text = serde_json::to_vec(newest)?;
    file.write_all_at(&text, 0)?;
    // Until the file is truncated, a longer one cannot be parsed.
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(pairs: &[(&str, u64)]) -> Newest {
        pairs
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version))
            .collect()
    }

    #[test]
    fn what_is_kept_is_known_to_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/versions.json");
        for kept in [
            newest(&[]),
            newest(&[("a", 10_000), ("b", 2)]),
            newest(&[("b", 3)]),
            newest(&[]),
        ] {
            let mut versions = Versions::open(Some(&path));
            versions.keep(kept.clone());
            assert_eq!(Versions::open(Some(&path)).earlier, kept);
        }
    }

    #[test]
    fn damaged_file_is_forgotten_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("versions.json");
        for damage in [
            &b"{\"a\":1}}"[..],
            b"{\"a\":",
            b"\xff",
            b"{\"a\":-1}",
            b"[]",
            b"{\"version\":2,\"a\":{}}",
        ] {
            fs::write(&path, damage).unwrap();
            let mut versions = Versions::open(Some(&path));
            assert_eq!(versions.earlier("a"), None, "{damage:?}");
            versions.keep(newest(&[("a", 7)]));
            assert_eq!(Versions::open(Some(&path)).earlier("a"), Some(7), "{damage:?}");
        }
    }
}
