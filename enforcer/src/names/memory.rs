//! A file with the hosts' addresses for the next start: the present and the former ones.
//!
//! It is written soon after a change and read once. If it is lost, the next start begins with what resolvers answer.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer_core::model::Host;
use enforcer_core::names::Listed;
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
        let read =
            fs::read_to_string(&self.file).and_then(|text| Ok(serde_json::from_str::<Written>(&text)?));
        match read {
            Ok(written) => written
                .into_iter()
                .map(|(host, addresses)| (Host::new(&host), addresses))
                .collect(),
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

type Written = std::collections::BTreeMap<String, std::collections::BTreeSet<std::net::IpAddr>>;

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
        fs::write(&file, "{ half").unwrap();
        assert_eq!(memory.read(), Listed::new());
    }
}
