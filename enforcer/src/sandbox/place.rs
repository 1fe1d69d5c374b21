//! Where one sandbox is: a folder for root alone, and cgroups that nobody but root can change.
//!
//! ```text
//! /run/enforcer-sandbox/<number>/        place.json, lock, the enforcer's configuration and state, its bpffs
//! <cgroup>/enforcer-sandbox-<number>/    command: what is enforced; guard: what watches over it
//! ```
//!
//! The lock is held by the supervisor and the guard together. A folder whose lock is free is what both have left when
//! they were killed at once; the next sandbox takes it away.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::{clean, mounts};
use crate::{
    datapath::{CgroupMount, of_process},
    state,
};

/// Where the folders are.
pub(super) const FOLDER: &str = "/run/enforcer-sandbox";

const NAME: &str = "enforcer-sandbox-";
const FILE: &str = "place.json";
const LOCK: &str = "lock";

/// The place of one sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Where cgroup v2 is mounted.
    pub(super) mount: PathBuf,
    /// Its cgroup below that.
    pub(super) cgroup: PathBuf,
}

impl Place {
    /// Makes one, with mounts of this process's own, and takes away what killed ones have left. Whoever holds the file
    /// keeps others from that.
    ///
    /// # Errors
    /// If the machine does not let it; then nothing is left of it.
    pub(super) fn make() -> Result<(Self, File)> {
        let mount = CgroupMount::find()?;
        let all = enter()?;
        clear();
        let (folder, lock) = own_folder()?;
        drop(all);
        let number = folder.file_name().context("the folder has a name")?;
        let place = Self {
            cgroup: parent(&mount).join(format!("{NAME}{}", number.display())),
            mount: mount.path().to_owned(),
            folder,
        };
        match place.furnish(&mount) {
            Ok(()) => Ok((place, lock)),
            Err(error) => {
                drop(lock);
                clean::take_away(&place).ok();
                Err(error)
            }
        }
    }

    fn furnish(&self, mount: &CgroupMount) -> Result<()> {
        let text = serde_json::to_vec(self)?;
        fs::write(self.folder.join(FILE), text).context("writing where the sandbox is")?;
        mounts::separate()?;
        mounts::pins(&self.bpffs())?;
        mounts::nothing(&self.folder)?;
        for part in [&self.command(), &self.guard()] {
            mount.make(part).map_err(|error| {
                let folder = mount.folder(part);
                let advice = match error.kind() {
                    ErrorKind::ReadOnlyFilesystem => {
                        ": the cgroup file system is read-only here, as in an ordinary container; start the sandbox outside \
                         of it, or let the container write to it (`--privileged`, or `--cgroupns=private` with a writable \
                         /sys/fs/cgroup)"
                    }
                    ErrorKind::PermissionDenied => ": the sandbox has to be started as root of the machine",
                    _ => "",
                };
                anyhow::anyhow!("creating the cgroup {} ({error}){advice}", folder.display())
            })?;
        }
        Ok(())
    }

    /// The one in this folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let text = fs::read(folder.join(FILE)).with_context(|| format!("reading {}", folder.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", folder.display()))
    }

    /// Where the enforcer pins.
    pub(super) fn bpffs(&self) -> PathBuf {
        self.folder.join("bpffs")
    }

    /// The enforcer's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("enforcer.yaml")
    }

    /// What the command may reach.
    pub(super) fn registry(&self) -> PathBuf {
        self.folder.join("registry")
    }

    /// The enforcer's state.
    pub(super) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The cgroup of the command.
    pub(super) fn command(&self) -> PathBuf {
        self.cgroup.join("command")
    }

    /// The cgroup of the guard and the enforcer: who ends all processes of the caller's cgroup does not end these.
    pub(super) fn guard(&self) -> PathBuf {
        self.cgroup.join("guard")
    }

    /// The folder of a cgroup.
    pub(super) fn below_mount(&self, cgroup: &Path) -> PathBuf {
        self.mount.join(cgroup.strip_prefix("/").unwrap_or(cgroup))
    }
}

/// Opens the folder of all sandboxes, locked: nobody else makes or removes one meanwhile.
fn enter() -> Result<File> {
    loop {
        state::own(Path::new(FOLDER))?;
        let all = File::open(FOLDER).with_context(|| format!("opening {FOLDER}"))?;
        all.lock().with_context(|| format!("locking {FOLDER}"))?;
        // Who has left last has removed it.
        let there = fs::metadata(FOLDER).map(|there| there.ino()).ok();
        if there == Some(all.metadata()?.ino()) {
            return Ok(all);
        }
    }
}

/// Removes the folder of all sandboxes if this was the last one.
pub(super) fn leave() -> Result<()> {
    if !Path::new(FOLDER).exists() {
        return Ok(());
    }
    let _all = enter()?;
    match fs::remove_dir(FOLDER) {
        Err(error) if !matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {
            Err(error).with_context(|| format!("removing {FOLDER}"))
        }
        _ => Ok(()),
    }
}

/// Takes away what sandboxes have left of which nothing runs any more that would. What cannot be taken away is tried again
/// by the next one.
fn clear() {
    for entry in fs::read_dir(FOLDER).into_iter().flatten().flatten() {
        let folder = entry.path();
        let is_left = || -> io::Result<bool> {
            let lock = File::open(folder.join(LOCK))?;
            Ok(lock.try_lock().is_ok())
        };
        match is_left() {
            Ok(false) => continue,
            // One that was killed before it had made the lock.
            Err(error) if error.kind() != ErrorKind::NotFound => continue,
            _ => {}
        }
        let outcome = match Place::read(&folder) {
            Ok(place) => clean::take_away(&place),
            Err(_) => fs::remove_dir_all(&folder).context("removing it"),
        };
        if let Err(error) = outcome {
            tracing::warn!(
                "what a killed sandbox has left in {} stays: {error:#}",
                folder.display()
            );
        }
    }
}

fn own_folder() -> Result<(PathBuf, File)> {
    let own = std::process::id();
    // Others with this number may be in another PID namespace.
    for number in 0.. {
        let name = if number == 0 {
            own.to_string()
        } else {
            format!("{own}-{number}")
        };
        let folder = Path::new(FOLDER).join(name);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {
                let lock = File::create(folder.join(LOCK)).context("making the sandbox's lock")?;
                lock.try_lock().context("locking the sandbox's folder")?;
                return Ok((folder, lock));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("creating {}", folder.display())),
        }
    }
    bail!("{FOLDER} is full")
}

/// The cgroup of the caller, or the first one above it that stays, in which nobody but root may write and that can have
/// others below it: whoever may write to a cgroup above two others may move processes from one to the other. So limits
/// and enforcement of what is above the caller hold for the command too.
fn parent(mount: &CgroupMount) -> PathBuf {
    let root = PathBuf::from("/");
    let Some(own) = of_process("self").filter(|own| !own.contains("/..")) else {
        return root;
    };
    let mut chosen = root.clone();
    for part in Path::new(&own).strip_prefix("/").unwrap_or(Path::new("")) {
        let next = chosen.join(part);
        let name = part.to_string_lossy();
        // systemd removes the cgroups of services and scopes with them.
        let stays = !name.ends_with(".service") && !name.ends_with(".scope");
        if !stays || !is_safe(&mount.folder(&next)) || next.components().count() > DEEPEST {
            break;
        }
        chosen = next;
    }
    chosen
}

/// The programs look no deeper than 16 levels; three of these are the sandbox's and the canary's.
const DEEPEST: usize = 12;

fn is_safe(cgroup: &Path) -> bool {
    let is_roots =
        |path: &Path| fs::metadata(path).is_ok_and(|there| there.uid() == 0 && there.mode() & 0o022 == 0);
    // Absent in the root.
    let kind = fs::read_to_string(cgroup.join("cgroup.type")).unwrap_or_else(|_| "domain".to_owned());
    is_roots(cgroup) && is_roots(&cgroup.join("cgroup.procs")) && kind.trim() == "domain"
}
