//! The folder of the pins, which belongs to root alone.
//!
//! On many systems all users may create folders and links in bpffs (mode 1777). What another user has created under
//! our name is moved aside and never read: a folder that others can open can be locked by them, and links in it may
//! lead elsewhere.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{errno::Errno, unistd::geteuid};

use super::sys::{self, Rename};

/// Access for root only.
const MODE: u32 = 0o700;

/// The number of tries against a process that keeps creating and removing files of our name.
const TRIES: u32 = 1000;

/// Creates a folder for this user alone, unless it exists.
pub(super) fn create(folder: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("creating {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Whether there is a folder of this user, not a link to one.
///
/// # Errors
/// If it cannot be read.
pub(super) fn is_own(folder: &Path) -> Result<bool> {
    match fs::symlink_metadata(folder) {
        Ok(there) => Ok(there.is_dir() && there.uid() == geteuid().as_raw()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("looking at {}", folder.display())),
    }
}

/// Makes `folder` a folder of this user alone, whatever exists there.
///
/// # Errors
/// If others may rename what is in its parent, or the folder cannot be created.
pub(super) fn own(folder: &Path) -> Result<()> {
    let parent = folder.parent().context("a folder lies in another")?;
    is_safe(parent)?;
    if is_own(folder)? {
        // Earlier versions left it readable.
        return fs::set_permissions(folder, fs::Permissions::from_mode(MODE))
            .with_context(|| format!("keeping {} to root", folder.display()));
    }
    let new = spare(folder)?;
    for _ in 0..TRIES {
        if moved(&new, folder, Rename::NoReplace)?.is_ok() {
            return Ok(());
        }
        match moved(&new, folder, Rename::Exchange)? {
            Ok(()) => {
                tell(folder, &new);
                return Ok(());
            }
            // Kernels before 5.16 cannot exchange files in bpffs.
            Err(Errno::EINVAL) => {
                let aside = spare_name(folder)?;
                if moved(folder, &aside, Rename::NoReplace)?.is_ok() {
                    tell(folder, &aside);
                }
            }
            Err(_) => {}
        }
    }
    bail!(
        "creating {}: another process creates it again and again",
        folder.display()
    )
}

/// Renames. The inner error means that another process creates or removes files meanwhile, or that the kernel is
/// older.
fn moved(from: &Path, to: &Path, how: Rename) -> Result<Result<(), Errno>> {
    match sys::rename(from, to, how) {
        Ok(()) => Ok(Ok(())),
        Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
            passing @ (Errno::EEXIST | Errno::ENOENT | Errno::EINVAL) => Ok(Err(passing)),
            _ => Err(error).with_context(|| format!("renaming {} to {}", from.display(), to.display())),
        },
    }
}

/// Whether only root can rename what is in a folder.
fn is_safe(parent: &Path) -> Result<()> {
    let there = fs::metadata(parent).with_context(|| format!("looking at {}", parent.display()))?;
    let owner = there.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        bail!(
            "{0} belongs to user {owner}, who could take away what is pinned there: `chown root {0}`",
            parent.display()
        );
    }
    let is_sticky = there.mode() & 0o1000 != 0;
    if there.mode() & 0o022 != 0 && !is_sticky {
        bail!(
            "everybody could take away what is pinned below {0}: `chmod +t {0}`",
            parent.display()
        );
    }
    Ok(())
}

/// A new folder beside this one, under an unused name.
fn spare(folder: &Path) -> Result<PathBuf> {
    let spare = spare_name(folder)?;
    fs::DirBuilder::new()
        .mode(MODE)
        .create(&spare)
        .with_context(|| format!("creating {}", spare.display()))?;
    Ok(spare)
}

fn spare_name(folder: &Path) -> Result<PathBuf> {
    let name = folder
        .file_name()
        .context("a folder has a name")?
        .to_string_lossy();
    let is_free = |path: &PathBuf| fs::symlink_metadata(path).is_err();
    let mut names = (0_u32..).map(|number| folder.with_file_name(format!("{name}-aside-{number}")));
    names.find(is_free).context("there are fewer than 2^32 folders")
}

/// Reports what was moved aside, and removes it if that is possible without reading it.
fn tell(folder: &Path, aside: &Path) {
    let removed = fs::remove_dir(aside).or_else(|_| fs::remove_file(aside));
    let rest = removed.map_or_else(
        |_| format!("is now {}", aside.display()),
        |()| "is removed".to_owned(),
    );
    tracing::warn!("what another user had made at {} {rest}", folder.display());
}
