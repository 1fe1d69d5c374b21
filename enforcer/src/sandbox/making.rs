//! Makes the place of a sandbox, and takes away what killed ones have left.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    clean, mounts,
    place::{FILE, FOLDER, Place, enter},
};
use crate::datapath::{CgroupMount, of_process};

const NAME: &str = "enforcer-sandbox-";
const LOCK: &str = "lock";

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
