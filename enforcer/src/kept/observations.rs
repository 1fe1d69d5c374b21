//! The file of what workloads were seen to reach: a line of JSON for each destination.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use enforcer_core::observed::Observation;
use tokio::sync::watch;

use super::file::replace;

/// A larger file is none of ours.
const LIMIT: u64 = 1 << 30;

/// Observations of one moment.
pub(crate) type Snapshot = Arc<Vec<Observation>>;

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

/// Writes each snapshot, until nobody sends any more.
///
/// # Errors
/// None: what cannot be written is told once, and tried again with the next one.
pub(crate) async fn run(path: PathBuf, mut snapshots: watch::Receiver<Snapshot>) -> Result<()> {
    let mut said = None;
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
