//! What an attempt's process may do.

use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Names the variable that tells a process what it may do.
pub(super) const VARIABLE: &str = "ESCAPE_PRIVILEGES";

/// How far a process that tries an escape is privileged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privileges {
    /// A user without any.
    Nobody,
    /// Root with what containerd gives to containers.
    Containerd,
    /// Root with everything.
    #[default]
    Root,
}

/// containerd's default (`oci.defaultUnixCaps`).
const CONTAINERD: [Capability; 14] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FSETID,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_NET_RAW,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETPCAP,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SYS_CHROOT,
    Capability::CAP_KILL,
    Capability::CAP_AUDIT_WRITE,
];

impl Privileges {
    /// All of them, the fewest first.
    pub const ALL: [Self; 3] = [Self::Nobody, Self::Containerd, Self::Root];

    /// The word for it, in arguments and tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nobody => "unprivileged",
            Self::Containerd => "containerd",
            Self::Root => "root",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privileges| privileges.word() == word)
    }

    /// Gives up all others, for good.
    pub(crate) fn take(self) -> io::Result<()> {
        match self {
            Self::Root => Ok(()),
            Self::Containerd => keep(&CONTAINERD.into_iter().collect()).map_err(io::Error::other),
            Self::Nobody => {
                const NOBODY: u32 = 65534;
                let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
                setgroups(&[])?;
                setresgid(group, group, group)?;
                setresuid(user, user, user)?;
                Ok(())
            }
        }
    }
}

fn keep(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    for other in caps::runtime::thread_all_supported().difference(kept) {
        caps::drop(None, CapSet::Bounding, *other)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, kept)?;
    caps::set(None, CapSet::Permitted, kept)
}
