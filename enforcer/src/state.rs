//! What lies in the state folder, by name.

use std::{fs, io, os::unix::net::UnixStream, path::Path};

use anyhow::{Context as _, Result};

use crate::control;

/// What is known of names.
pub(crate) const NAMES: &str = "names.json";
/// What was known of them.
pub(crate) const FORMER: &str = "former.json";
/// How far the API server was followed.
pub(crate) const VERSIONS: &str = "versions.json";
/// There while a sweep for sockets is due.
pub(crate) const SWEEP: &str = "sweep";

/// Removes all of it, and the folder if nothing else is in it, and says how many files there were. Where an enforcer
/// answers, its state is left to it.
///
/// # Errors
/// If a file is there and cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<usize> {
    let socket = control::path(folder);
    if UnixStream::connect(&socket).is_ok() {
        return Ok(0);
    }
    let mut files = vec![socket, folder.join(SWEEP), folder.join(VERSIONS)];
    for name in [NAMES, FORMER] {
        let file = folder.join(name);
        // A half-written one of an enforcer that was killed.
        files.push(file.with_extension("new"));
        files.push(file);
    }
    let mut removed = 0;
    for file in files {
        match fs::remove_file(&file) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("removing {}", file.display())),
        }
    }
    // It may hold somebody else's files, or be a mount point, also in a container that is read-only otherwise.
    match fs::remove_dir(folder) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::ResourceBusy
                    | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(removed),
    }
}
