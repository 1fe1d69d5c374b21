//! The archive: made in memory, for it is bounded, and then written at once or not at all.

use std::{
    fs,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, Header};

use super::Files;

/// The folder in the archive.
const FOLDER: &str = "enforcer-bundle";

/// For root alone: names and addresses are somebody's business.
const MODE: u32 = 0o600;

/// Writes the files to `output`: a file, a folder in which it gets the name `name`, or `-` for standard output. Returns
/// where it is; None if that is standard output.
///
/// # Errors
/// If it cannot be written. Then no half of it is left, and a file that was there is as it was.
pub fn write(files: &Files, output: &Path, name: &Path) -> Result<Option<PathBuf>> {
    let bytes = archive(files).context("making the archive")?;
    if output == Path::new("-") {
        if io::stdout().is_terminal() {
            bail!("an archive is nothing for a terminal: `--output FILE`, or a pipe behind it");
        }
        io::stdout().lock().write_all(&bytes)?;
        io::stdout().lock().flush()?;
        return Ok(None);
    }
    let target = if output.is_dir() {
        output.join(name)
    } else {
        output.to_owned()
    };
    let context = || format!("writing {}", target.display());
    // In a folder that others write to, a pipe or a link is theirs, and so would be what is written to it.
    if fs::symlink_metadata(&target).is_ok_and(|there| !there.is_file()) {
        bail!(
            "{} is there and no file: `--output -` writes to standard output, which a shell leads anywhere",
            target.display()
        );
    }
    replace(&target, &bytes).with_context(context)?;
    Ok(Some(target))
}

fn archive(files: &Files) -> io::Result<Vec<u8>> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, bytes) in files.render() {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(MODE);
        header.set_mtime(now);
        builder.append_data(&mut header, Path::new(FOLDER).join(name), bytes.as_slice())?;
    }
    builder.into_inner()?.finish()
}

/// Replaces a file at once. The new one has a name that nobody can have guessed, and goes if it cannot be finished.
fn replace(target: &Path, bytes: &[u8]) -> Result<()> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = tempfile::Builder::new()
        .prefix(".enforcer-bundle-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(target)?;
    Ok(())
}
