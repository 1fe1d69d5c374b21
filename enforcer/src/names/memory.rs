//! A file with the hosts' addresses for the next start: the present and the former ones.
//!
//! It is written soon after a change and read once. If it is lost, the next start begins with what resolvers answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_core::model::Host;
use enforcer_core::names::Listed;
use serde_json::Value;
use tokio::time::Instant;

/// A change is written after this time at the latest; the file is not written more often.
const PAUSE: Duration = Duration::from_millis(500);

/// The file, and when it is to be written.
#[derive(Debug)]
pub(crate) struct Memory {
    file: PathBuf,
    due: Option<Instant>,
}

impl Memory {
    pub(crate) fn new(file: PathBuf) -> Self {
        Self { file, due: None }
    }

    /// What an earlier run has written; nothing if there is no file or it cannot be read.
    pub(crate) fn read(&self) -> Listed {
        let read = fs::read(&self.file).and_then(|text| Ok(serde_json::from_slice(&text)?));
        match read {
            Ok(entries) => self.understand(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Listed::new(),
            Err(error) => {
                tracing::warn!(
                    "cannot read {}, the addresses of hosts that an earlier run has saved ({error}): until DNS \
                     answers, connections to these hosts are refused; the file is written again",
                    self.file.display()
                );
                Listed::new()
            }
        }
    }

    /// What is understood of the entries, which another version may have written.
    fn understand(&self, entries: BTreeMap<String, Value>) -> Listed {
        let all = entries.len();
        let known: Listed = entries
            .into_iter()
            .filter_map(|(host, value)| Some((Host::new(&host), addresses(value)?)))
            .collect();
        if known.len() < all {
            tracing::warn!(
                "{} of {all} entries of {}, the addresses of hosts that an earlier run has saved, are damaged or of \
                 another version: until DNS answers, connections to these hosts are refused; the others are used, and \
                 the file is written again",
                all - known.len(),
                self.file.display()
            );
        }
        known
    }

    /// Notes that something has changed.
    pub(crate) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// When [`Memory::write`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes, if it is time to.
    pub(crate) fn write(&mut self, known: impl FnOnce() -> Listed) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.save(known);
        }
    }

    /// Writes now, if something has changed.
    pub(crate) fn save(&mut self, known: impl FnOnce() -> Listed) {
        if self.due.take().is_none() {
            return;
        }
        if let Err(error) = replace(&self.file, &known()) {
            tracing::warn!(
                "cannot save addresses of hosts in {} ({error}): enforcement is not affected, but the next start \
                 refuses connections to these hosts until DNS answers; make the folder writable",
                self.file.display()
            );
        }
    }
}

type Written = BTreeMap<String, BTreeSet<IpAddr>>;

/// The addresses of an entry; None if it is of another kind.
fn addresses(value: Value) -> Option<BTreeSet<IpAddr>> {
    serde_json::from_value(value).ok()
}

/// Replaces the file atomically.
fn replace(file: &Path, known: &Listed) -> io::Result<()> {
    let written: Written = known
        .iter()
        .map(|(host, addresses)| (host.as_str().to_owned(), addresses.clone()))
        .collect();
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let new = file.with_extension("new");
    fs::write(&new, serde_json::to_string(&written)?)?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/names.json");
        let memory = Memory::new(file.clone());
        assert_eq!(memory.read(), Listed::new(), "nothing was written yet");
        let known = Listed::from([(Host::new("db.example.com"), ["192.0.2.1".parse().unwrap()].into())]);
        replace(&file, &known).unwrap();
        assert_eq!(memory.read(), known);
        for damage in [
            &b"{ half"[..],
            b"",
            b"[]",
            b"7",
            b"\xff\x00",
            b"{\"db.example.com\": [\"192.0",
        ] {
            fs::write(&file, damage).unwrap();
            assert_eq!(memory.read(), Listed::new(), "{damage:?}");
        }
    }

    #[test]
    fn what_another_version_has_written_beside_it_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("names.json");
        let text = r#"{"": 2, "version": 2, "a.example.com": {"addresses": ["192.0.2.7"]}, "b.example.com": ["soon"],
            "db.example.com": ["192.0.2.1", "2001:db8::1"]}"#;
        fs::write(&file, text).unwrap();
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        let known = Listed::from([(Host::new("db.example.com"), addresses.into())]);
        assert_eq!(Memory::new(file).read(), known);
    }
}
