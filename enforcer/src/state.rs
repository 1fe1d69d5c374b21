//! The state folder, which nobody but root may write to, and what lies in it, by name.

use std::{
    fs, io,
    os::unix::{
        fs::{DirBuilderExt as _, MetadataExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::unistd::geteuid;

/// Where the status is asked for.
pub(crate) const SOCKET: &str = "control.sock";
/// What is known of names.
pub(crate) const NAMES: &str = "names.json";
/// What was known of them.
pub(crate) const PAST_ADDRESSES: &str = "former.json";
/// How far the API server was followed.
pub(crate) const VERSIONS: &str = "versions.json";
/// Where an enforcer that was started at boot is asked to end.
pub(crate) const HANDOVER: &str = "boot.sock";
/// What a browser has to say to be shown the page.
pub(crate) const TOKEN: &str = "ui.token";
/// What was counted of workloads that are gone.
pub(crate) const VERDICTS: &str = "verdicts.json";
/// There while a sweep for sockets is due.
pub(crate) const SWEEP: &str = "sweep";

/// There once enforcement was in force in this boot, for the generator.
pub(crate) const IN_FORCE: &str = "in-force";

/// Where everything is, if the configuration does not say.
pub(crate) const DEFAULT: &str = "/run/enforcer";
/// Where names are kept over a boot, as the unit's `StateDirectory=` has it.
const KEPT: &str = "/var/lib/enforcer";

/// The file of what is known of names: in systemd's `StateDirectory=` if `state` is the default, which is lost at a boot.
pub(crate) fn names(state: &Path) -> PathBuf {
    let kept = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
    let kept = kept.filter(|kept| state == Path::new(DEFAULT) && kept.is_absolute());
    kept.as_deref().unwrap_or(state).join(NAMES)
}

/// Makes the folder, unless it is there.
///
/// # Errors
/// If somebody else may write to it: who can make files there could keep an enforcer from starting, answer in its
/// place, and have it write elsewhere by links.
pub(crate) fn own(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("creating {}", folder.display()))?;
    let there = fs::metadata(folder).with_context(|| format!("looking at {}", folder.display()))?;
    let owner = there.uid();
    let who = if owner != 0 && owner != geteuid().as_raw() {
        format!("it belongs to user {owner}")
    } else if there.mode() & 0o022 != 0 {
        "others may write to it".to_owned()
    } else {
        return Ok(());
    };
    bail!(
        "the state folder {0} is not for root alone ({who}): `chown root {0} && chmod go-w {0}`, or set `state` to \
         another folder",
        folder.display()
    )
}

/// Removes all of it, and the folder if nothing else is in it, and says how many files there were. Where an enforcer
/// answers, its state is left to it.
///
/// # Errors
/// If a file is there and cannot be removed.
pub(crate) fn remove(folder: &Path) -> Result<usize> {
    let socket = folder.join(SOCKET);
    if UnixStream::connect(&socket).is_ok() {
        return Ok(0);
    }
    let mut files = vec![
        socket,
        folder.join(HANDOVER),
        folder.join(SWEEP),
        folder.join(VERSIONS),
        folder.join(IN_FORCE),
        folder.join(TOKEN),
    ];
    let mut kept = vec![
        folder.join(NAMES),
        folder.join(PAST_ADDRESSES),
        folder.join(VERDICTS),
    ];
    if folder == Path::new(DEFAULT) {
        kept.push(Path::new(KEPT).join(NAMES));
    }
    for file in kept {
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
