//! Becomes the command: in its cgroup, as its user, without what would lead out of there.

use std::{
    collections::HashSet, ffi::OsString, fs, io, os::unix::process::CommandExt as _, process::Command,
};

use anyhow::{Context as _, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;

use super::{Identity, Place, apart, mounts};
use crate::{privileges, typing};

/// What root's command keeps: what installing and building need. None of it reaches the kernel's networking, its programs,
/// mounts, namespaces or memory.
const KEPT: [Capability; 19] = [
    Capability::CAP_AUDIT_WRITE,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_IPC_OWNER,
    Capability::CAP_KILL,
    Capability::CAP_LEASE,
    Capability::CAP_LINUX_IMMUTABLE,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_SYS_NICE,
    Capability::CAP_SYS_RESOURCE,
];

/// Replaces this process, which has one thread, by the command. It returns only if that fails; the inner error is that
/// of the program itself.
///
/// # Errors
/// If it would not be contained; then nothing was started.
pub(crate) fn contain(
    place: &Place,
    identity: &Identity,
    is_privileged: bool,
    command: &[OsString],
) -> Result<io::Error> {
    let (program, arguments) = command.split_first().context("no command is given")?;
    // Root's command would lose what it keeps.
    let is_apart = !is_privileged && *identity != Identity::Own;
    let mapping = is_apart.then(apart::begin).transpose()?;
    let cgroup = place.below_mount(&place.command());
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))?;
    if !is_privileged {
        mounts::close(&place.folder, identity.numbers().0)?;
    }
    mapping.map_or(Ok(()), apart::Mapping::enter)?;
    identity.take_groups()?;
    if !is_privileged {
        let held = caps::read(None, CapSet::Permitted).context("reading the process's capabilities")?;
        let kept: CapsHashSet = HashSet::from(KEPT);
        privileges::keep(&held.intersection(&kept).copied().collect())?;
        // Programs of others take no rights by being started.
        set_no_new_privs().context("setting no_new_privs")?;
        typing::forbid()?;
        if is_apart {
            apart::keep_signals()?;
        }
    }
    identity.become_user()?;
    Ok(Command::new(program).args(arguments).exec())
}
