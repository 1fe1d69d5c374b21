//! `enforcer mount-bpffs`: mounts the machine's bpffs where nobody else has, as on nodes of kind. The DaemonSet has an
//! init container do it, so that the container that enforces needs no way to mount anything.

use std::{fs::File, path::Path, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{MountBpffs, out};

/// The mounts of the machine, as its first process has them.
const MACHINE: &str = "/proc/1/ns/mnt";

/// Options of systemd's own mount.
const FLAGS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

pub(super) fn run(arguments: &MountBpffs) -> Result<ExitCode> {
    let at = &arguments.bpffs;
    // The container has the machine's folder: where it is a bpffs, no other right is needed.
    let outcome = if is_bpffs(at)? || is_on_machine(at)? {
        "is mounted already"
    } else {
        mount(Some("bpf"), at, Some("bpf"), FLAGS, Some("mode=0700"))
            .with_context(|| format!("mounting a bpffs at {}", at.display()))?;
        ensure!(is_bpffs(at)?, "{} is no bpffs after the mount", at.display());
        "is mounted now"
    };
    out::line(format_args!("the bpffs at {} {outcome}", at.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Enters the machine's mounts for good, and looks there.
fn is_on_machine(at: &Path) -> Result<bool> {
    let machine = File::open(MACHINE).with_context(|| {
        format!("opening {MACHINE}: the pod needs hostPID, and this container CAP_SYS_PTRACE")
    })?;
    setns(machine, CloneFlags::CLONE_NEWNS).context(
        "entering the machine's mounts: this container needs CAP_SYS_ADMIN and CAP_SYS_CHROOT, and no profile of AppArmor",
    )?;
    is_bpffs(at)
}

fn is_bpffs(path: &Path) -> Result<bool> {
    let found = statfs(path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(found.filesystem_type() == BPF_FS_MAGIC)
}
