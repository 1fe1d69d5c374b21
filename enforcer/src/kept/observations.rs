//! The file of what workloads were seen to reach: a line of JSON for each destination.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use enforcer_core::observed::Observation;
use nix::{
    errno::Errno,
    unistd::{AccessFlags, access, geteuid},
};
use tokio::sync::watch;

use super::file::replace;

/// A larger file is none of ours.
const LIMIT: u64 = 1 << 30;

/// Observations of one moment.
pub(crate) type Snapshot = Arc<Vec<Observation>>;

/// The file, and how it stands.
#[derive(Clone, Debug)]
pub(crate) struct Keeping {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// Since when it is not written, and why.
    pub(crate) failed: Option<(Instant, String)>,
}

/// Why a file could not be written on this machine now; None if it could. What only root may write is judged for root
/// alone.
pub(crate) fn unwritable(file: &Path) -> Option<String> {
    let folder = file.parent()?;
    match fs::metadata(folder) {
        Ok(there) if !there.is_dir() => return Some(format!("{} is no folder", folder.display())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Some(format!("the folder {} does not exist", folder.display()));
        }
        Err(error) => return Some(format!("{}: {error}", folder.display())),
    }
    if file.is_dir() {
        return Some(format!("{} is a folder", file.display()));
    }
    match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::EACCES) if !geteuid().is_root() => None,
        Err(error) => Some(format!(
            "the folder {} cannot be written: {}",
            folder.display(),
            error.desc()
        )),
        Ok(()) => None,
    }
}

/// What is in the file; nothing if there is none. A file that is damaged is moved aside, and what can be read of it is
/// taken.
///
/// # Errors
/// If it is there and cannot be read or moved.
pub(crate) fn read(path: &Path) -> Result<Vec<Observation>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.and_then(|file| file.take(LIMIT).read_to_end(&mut bytes)),
    }
    .with_context(|| format!("reading {}", path.display()))?;
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (mut read, mut damaged) = (Vec::new(), 0_u64);
    for line in lines {
        match serde_json::from_slice(line) {
            Ok(observation) => read.push(observation),
            Err(_) => damaged += 1,
        }
    }
    if damaged > 0 {
        let aside = path.with_extension("damaged");
        fs::rename(path, &aside).with_context(|| format!("moving {} aside", path.display()))?;
        tracing::warn!(
            "{damaged} lines of {} are damaged or of another version: it is kept as {}, and the other {} observations are used",
            path.display(),
            aside.display(),
            read.len()
        );
    }
    Ok(read)
}

/// Writes each snapshot, until nobody sends any more, and says in `keeping` whether it could.
///
/// # Errors
/// None: what cannot be written is told once, and tried again with the next one.
pub(crate) async fn run(
    mut snapshots: watch::Receiver<Snapshot>,
    keeping: watch::Sender<Keeping>,
) -> Result<()> {
    let mut said = None;
    let path = keeping.borrow().file.clone();
    while snapshots.changed().await.is_ok() {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let place = path.clone();
        let written = tokio::task::spawn_blocking(move || write(&place, &snapshot)).await?;
        let failed = written.err().map(|error| format!("{error:#}"));
        if let Some(error) = failed.as_ref().filter(|_| failed != said) {
            tracing::error!(
                "what workloads were seen to reach is not kept ({error}); it is tried again, and enforcement is not \
                 affected"
            );
        }
        keeping.send_modify(|keeping| {
            let since = keeping
                .failed
                .as_ref()
                .map_or_else(Instant::now, |(since, _)| *since);
            keeping.failed = failed.clone().map(|error| (since, error));
        });
        said = failed;
    }
    Ok(())
}

fn write(path: &Path, observations: &[Observation]) -> Result<()> {
    let mut text = String::new();
    for observation in observations {
        text.push_str(&serde_json::to_string(observation)?);
        text.push('\n');
    }
    replace(path, &text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_where_nothing_can_be_written_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| unwritable(&folder.path().join(path)).unwrap_or_default();
        assert_eq!(at("observed.jsonl"), "");
        assert!(at("none/observed.jsonl").ends_with("/none does not exist"));
        fs::write(folder.path().join("file"), "").expect("a file");
        assert!(at("file/observed.jsonl").ends_with("/file is no folder"));
        assert!(at("").ends_with(" is a folder"));
    }

    #[tokio::test]
    async fn status_of_the_file_is_that_of_the_last_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("none/observed.jsonl");
        let (keeping, mut now) = watch::channel(Keeping {
            file: file.clone(),
            failed: None,
        });
        let (snapshots, taken) = watch::channel(Snapshot::default());
        let task = tokio::spawn(run(taken, keeping));
        let mut since = None;
        for _ in 0..2 {
            snapshots.send_replace(Snapshot::default());
            now.changed().await.expect("it is written");
            let (at, error) = now.borrow_and_update().failed.clone().expect("it fails");
            assert!(error.contains("No such file"), "{error}");
            assert_eq!(*since.get_or_insert(at), at, "since the first time");
        }
        fs::create_dir(folder.path().join("none")).expect("a folder");
        snapshots.send_replace(Snapshot::default());
        now.changed().await.expect("it is written");
        assert_eq!(now.borrow().failed, None);
        assert!(file.is_file());
        drop(snapshots);
        task.await.expect("it ends").expect("no error");
    }
}
