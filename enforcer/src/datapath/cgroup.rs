//! Cgroups of version 2, by path, identifier and depth.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, Settings};

/// Where cgroup v2 is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    path: PathBuf,
    hybrid: bool,
    /// Whether it shows the whole hierarchy. A mount in a cgroup namespace begins somewhere below the root.
    whole: bool,
}

/// A cgroup that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the mount, beginning with `/`.
    pub path: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
    /// Distinguishes it from another cgroup that had the same path.
    pub id: CgroupId,
    /// How many cgroups lie above it below the mount.
    pub depth: u32,
    /// Whether there are more above the mount; the kernel does not say how many.
    pub deeper: bool,
}

impl CgroupMount {
    /// Finds the mount, pure or hybrid.
    ///
    /// # Errors
    /// If there is none.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        Self::among(&mounts)
            .context("no cgroup v2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` adds one")
    }

    /// At a folder that the configuration names.
    ///
    /// # Errors
    /// If it is not a cgroup v2 mount.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.join("cgroup.procs").is_file() || !path.join("cgroup.controllers").is_file() {
            bail!("{} is not a cgroup v2 mount", path.display());
        }
        Ok(Self {
            path: path.to_owned(),
            hybrid: false,
            whole: is_whole(path),
        })
    }

    fn among(mounts: &str) -> Option<Self> {
        let fields = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let path = fields()
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .map(|fields| PathBuf::from(fields[1].replace("\\040", " ")))?;
        let hybrid = fields().any(|fields| fields.get(2) == Some(&"cgroup"));
        Some(Self {
            whole: is_whole(&path),
            path,
            hybrid,
        })
    }

    /// The folder it is mounted at.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether cgroup v1 hierarchies are mounted beside it.
    pub fn is_hybrid(&self) -> bool {
        self.hybrid
    }

    /// The folder of a cgroup, whether it exists or not.
    pub fn folder(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Makes the cgroup at `path`, and those above it, unless they exist. Whatever the process's umask is, others may look
    /// into them, as into those that systemd makes: a user's own systemd is in a slice that does not belong to her.
    ///
    /// # Errors
    /// If one cannot be made.
    pub fn make(&self, path: &Path) -> io::Result<()> {
        let mut folder = self.path.clone();
        for part in path.strip_prefix("/").unwrap_or(path) {
            folder.push(part);
            match fs::create_dir(&folder) {
                Ok(()) => fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The cgroup at `path`, if it exists.
    ///
    /// # Errors
    /// If its folder cannot be read.
    pub fn cgroup(&self, path: &Path) -> io::Result<Option<Cgroup>> {
        let folder = self.folder(path);
        let id = match fs::metadata(&folder) {
            Ok(metadata) if metadata.is_dir() => CgroupId(metadata.ino()),
            Ok(_) => return Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let depth = path
            .components()
            .filter(|part| matches!(part, std::path::Component::Normal(_)))
            .count();
        let depth = u32::try_from(depth).expect("a path is shorter than 4 GiB");
        Ok(Some(Cgroup {
            path: path.to_owned(),
            folder,
            id,
            depth,
            deeper: !self.whole,
        }))
    }

    /// The cgroup `name` below `parent`, which was listed there under the number `id`.
    pub fn child(&self, parent: &Cgroup, name: &str, id: CgroupId) -> Cgroup {
        Cgroup {
            path: parent.path.join(name),
            folder: parent.folder.join(name),
            id,
            depth: parent.depth + 1,
            deeper: !self.whole,
        }
    }
}

/// Only the root of the hierarchy has no `cgroup.events` (`CFTYPE_NOT_ON_ROOT`).
fn is_whole(mount: &Path) -> bool {
    !mount.join("cgroup.events").exists()
}

impl Cgroup {
    /// Depths below the root of the hierarchy at which it can be.
    pub fn depths(&self) -> std::ops::RangeInclusive<u32> {
        let most = if self.deeper {
            Settings::DEPTH_LIMIT
        } else {
            self.depth
        };
        self.depth..=most
    }

    /// Whether it still exists, and has not been replaced by another one.
    pub fn is_there(&self) -> bool {
        fs::metadata(&self.folder).is_ok_and(|there| there.ino() == self.id.0)
    }

    /// Opens its folder.
    ///
    /// # Errors
    /// If it is gone.
    pub fn open(&self) -> Result<File> {
        File::open(&self.folder).with_context(|| format!("opening the cgroup {}", self.folder.display()))
    }
}

/// Cgroups that are looked at for one that is wanted.
const MOST: usize = 1024;

impl Cgroup {
    /// The path of the cgroup of this number, if it is among the first that are found below.
    pub fn find_below(&self, id: CgroupId) -> Option<PathBuf> {
        let mut left = vec![(self.path.clone(), self.folder.clone())];
        for _ in 0..MOST {
            let (path, folder) = left.pop()?;
            for entry in fs::read_dir(&folder).ok()?.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = path.join(entry.file_name());
                if entry.ino() == id.0 {
                    return Some(path);
                }
                left.push((path, entry.path()));
            }
        }
        None
    }
}

/// The cgroup of a process (`self` or its id) in cgroup v2, from the root on. None if it has ended, or there is none.
pub fn of_process(process: &str) -> Option<String> {
    let cgroups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(unified.to_owned())
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::{Mode, umask};

    use super::*;

    #[test]
    fn depth_below_a_mount_that_shows_a_part_is_a_least_one() {
        let cgroup = |deeper| Cgroup {
            path: "/kubepods/pod1".into(),
            folder: "/sys/fs/cgroup/kubepods/pod1".into(),
            id: CgroupId(1),
            depth: 2,
            deeper,
        };
        assert_eq!(cgroup(false).depths(), 2..=2);
        assert_eq!(cgroup(true).depths(), 2..=Settings::DEPTH_LIMIT);
    }

    #[test]
    fn cgroups_are_made_for_others_to_look_into() {
        let folder = tempfile::tempdir().unwrap();
        let mount = CgroupMount {
            path: folder.path().to_owned(),
            hybrid: false,
            whole: true,
        };
        let former = umask(Mode::from_bits_truncate(0o077));
        let made = mount.make(Path::new("/user.slice/user-1000.slice"));
        umask(former);
        made.unwrap();
        for path in ["user.slice", "user.slice/user-1000.slice"] {
            let mode = fs::metadata(folder.path().join(path))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o755, "{path}");
        }
        mount.make(Path::new("/user.slice")).unwrap();
    }

    #[test]
    fn mount_is_found_pure_and_hybrid() {
        let pure = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let found = CgroupMount::among(pure).unwrap();
        assert_eq!(
            (found.path(), found.is_hybrid()),
            (Path::new("/sys/fs/cgroup"), false)
        );
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = CgroupMount::among(hybrid).unwrap();
        assert_eq!(
            (found.path(), found.is_hybrid()),
            (Path::new("/sys/fs/cgroup/unified"), true)
        );
        assert_eq!(CgroupMount::among("proc /proc proc rw 0 0\n"), None);
    }
}
