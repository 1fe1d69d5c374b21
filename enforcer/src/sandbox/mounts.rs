//! Mounts of the sandbox's own: where its programs are pinned, and what the command may not write to or ask.
//!
//! The command can undo none of this: it has no CAP_SYS_ADMIN, and in a user namespace of its own the kernel locks mounts
//! that come from outside.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};

use super::place::FOLDER;

/// File systems of the kernel by which processes change cgroups and pins.
const FOR_ALL: [&str; 2] = ["cgroup2", "bpf"];

/// Those by which root has the kernel start processes, or changes what it runs.
const FOR_ROOT: [&str; 9] = [
    "cgroup",
    "sysfs",
    "debugfs",
    "tracefs",
    "securityfs",
    "configfs",
    "efivarfs",
    "pstore",
    "selinuxfs",
];

/// The same in every procfs.
const IN_PROC: [&str; 2] = ["sys", "sysrq-trigger"];

/// A file and a folder in the sandbox's folder that have nothing, for what is taken away.
const NO_FILE: &str = "no-file";
const NO_FOLDER: &str = "no-folder";

/// Gives this process, which has one thread, mounts of its own. Those of the machine still appear in them, and theirs
/// nowhere else.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn separate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context(
        "making mounts of the sandbox's own (CAP_SYS_ADMIN is needed: start it as root of the machine)",
    )?;
    let receiving = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(None::<&str>, "/", None::<&str>, receiving, None::<&str>)
        .context("keeping the sandbox's mounts to itself (in a chroot, / has to be a mount point)")
}

/// Mounts a bpffs that ends with the last process that has these mounts.
pub(super) fn pins(folder: &Path) -> Result<()> {
    fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
    mount(Some("bpf"), folder, Some("bpf"), plain(), Some("mode=0700"))
        .with_context(|| format!("mounting a bpffs at {}", folder.display()))
}

/// Makes what stands for what is taken away.
pub(super) fn nothing(folder: &Path) -> Result<()> {
    let (file, dir) = (folder.join(NO_FILE), folder.join(NO_FOLDER));
    fs::write(&file, "").context("creating an empty file")?;
    fs::create_dir(&dir).context("creating an empty folder")?;
    for path in [file, dir] {
        fs::set_permissions(path, Permissions::from_mode(0)).context("closing what is empty")?;
    }
    Ok(())
}

/// Closes what leads out of the sandbox in this folder to a process of this user.
///
/// # Errors
/// If the kernel refuses, or a file system can be written to all the same.
pub(super) fn close(folder: &Path, uid: u32) -> Result<()> {
    separate()?;
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    for (path, kind) in mounts.lines().filter_map(place_and_kind) {
        if FOR_ALL.contains(&kind) || (uid == 0 && FOR_ROOT.contains(&kind)) {
            read_only(&path)?;
        }
        if uid == 0 && kind == "proc" {
            IN_PROC.iter().try_for_each(|name| in_itself(&path.join(name)))?;
        }
    }
    for door in doors(uid) {
        shut(&door, folder)?;
    }
    let hidden = plain() | MsFlags::MS_RDONLY;
    mount(
        Some("none"),
        FOLDER,
        Some("tmpfs"),
        hidden,
        Some("mode=000,size=4k"),
    )
    .with_context(|| format!("hiding {FOLDER}"))
}

fn plain() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC
}

/// Spaces and the like are octal there.
fn place_and_kind(line: &str) -> Option<(PathBuf, &str)> {
    let mut fields = line.split(' ').skip(1);
    let path = fields
        .next()?
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n");
    Some((path.replace("\\134", "\\").into(), fields.next()?))
}

/// Makes a mount read-only here. One that lies under another is reached by no path, and what cannot be reached is not
/// written to.
fn read_only(path: &Path) -> Result<()> {
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | plain();
    let done = mount(None::<&str>, path, None::<&str>, again, None::<&str>);
    match statvfs(path) {
        Err(_) => Ok(()),
        Ok(there) if there.flags().contains(FsFlags::ST_RDONLY) => Ok(()),
        Ok(_) => {
            done.with_context(|| format!("making {} read-only", path.display()))?;
            bail!("{} is not read-only", path.display())
        }
    }
}

/// Makes a part of a file system read-only.
fn in_itself(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    mount(Some(path), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mounting {} in itself", path.display()))?;
    read_only(path)
}

/// Sockets at which others start processes for who asks, outside of the sandbox; and those at which others resolve names,
/// so that no answer would reach the command from which its addresses could be learned.
fn doors(uid: u32) -> Vec<PathBuf> {
    const OF_MACHINE: [&str; 12] = [
        "run/systemd/private",
        "run/dbus/system_bus_socket",
        "run/docker.sock",
        "run/containerd",
        "run/crio",
        "run/podman",
        "run/libvirt",
        "run/snapd.socket",
        "run/screen",
        "run/systemd/resolve/io.systemd.Resolve",
        "run/nscd",
        "run/systemd/io.systemd.Manager",
    ];
    const OF_USER: [&str; 6] = ["bus", "systemd", "podman", "docker.sock", "docker", "at-spi"];
    let user = Path::new("/run/user").join(uid.to_string());
    let machine = OF_MACHINE.map(|name| Path::new("/").join(name));
    let user = OF_USER.map(|name| user.join(name));
    let terminals = Path::new("/tmp").join(format!("tmux-{uid}"));
    machine.into_iter().chain(user).chain([terminals]).collect()
}

fn shut(door: &Path, folder: &Path) -> Result<()> {
    let Ok(there) = fs::metadata(door) else {
        return Ok(());
    };
    let nothing = folder.join(if there.is_dir() { NO_FOLDER } else { NO_FILE });
    mount(Some(&nothing), door, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("closing {}", door.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_of_a_mount_is_read_as_the_kernel_writes_it() {
        let line = r"none /a\040b\134c cgroup2 rw,nosuid 0 0";
        assert_eq!(place_and_kind(line), Some((r"/a b\c".into(), "cgroup2")));
        assert_eq!(place_and_kind("none"), None);
    }
}
