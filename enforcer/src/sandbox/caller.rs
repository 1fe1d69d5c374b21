//! Whose processes the command's are: those of who has typed the command, not those of `sudo`.

use std::{ffi::CString, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Gid, Uid, User, initgroups, setgroups, setresgid, setresuid};

/// The user that the command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As this process: root.
    Own,
    /// Another one.
    Other {
        /// The user.
        uid: u32,
        /// The first group.
        gid: u32,
        /// Name, home and shell, if the user is a known one.
        known: Option<Known>,
    },
}

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    name: String,
    home: PathBuf,
    shell: PathBuf,
}

/// What `sudo` tells of who has called it, and what nobody is told of below it.
const SUDO: [&str; 4] = ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"];

/// Who has called: `user` if one is named, under sudo the user who has called that, else root.
///
/// # Errors
/// If sudo's variables are no numbers.
pub fn of_caller(user: Option<User>) -> Result<Identity> {
    if let Some(user) = user {
        return Ok(Identity::of(user));
    }
    let number = |name: &str| {
        let Some(value) = std::env::var_os(name) else {
            return Ok(None);
        };
        let number = value.to_str().and_then(|value| value.parse::<u32>().ok());
        let number =
            number.with_context(|| format!("{name} is {value:?}, which is no user's or group's number"))?;
        anyhow::Ok(Some(number))
    };
    let Some(uid) = number(SUDO[0])?.filter(|uid| *uid != 0) else {
        return Ok(Identity::Own);
    };
    let user = User::from_uid(Uid::from_raw(uid)).with_context(|| format!("looking up user {uid}"))?;
    match (user, number(SUDO[1])?) {
        (Some(user), gid) => {
            let gid = gid.map_or(user.gid, Gid::from_raw);
            Ok(Identity::of(User { gid, ..user }))
        }
        (None, Some(gid)) => Ok(Identity::Other {
            uid,
            gid,
            known: None,
        }),
        (None, None) => bail!("SUDO_UID is {uid}, and SUDO_GID is not set; name the user by --user"),
    }
}

impl Identity {
    fn of(user: User) -> Self {
        if user.uid.is_root() {
            return Self::Own;
        }
        Self::Other {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            known: Some(Known {
                name: user.name,
                home: user.dir,
                shell: user.shell,
            }),
        }
    }

    /// The one of these numbers.
    ///
    /// # Errors
    /// If there is a user of this number, and it cannot be looked up.
    pub(crate) fn numbered(uid: u32, gid: u32) -> Result<Self> {
        let user = User::from_uid(Uid::from_raw(uid)).with_context(|| format!("looking up user {uid}"))?;
        let gid_of = Gid::from_raw(gid);
        let other = Self::Other {
            uid,
            gid,
            known: None,
        };
        Ok(user.map_or(other, |user| Self::of(User { gid: gid_of, ..user })))
    }

    /// User and first group.
    pub(crate) fn numbers(&self) -> (u32, u32) {
        match self {
            Self::Own => (0, 0),
            Self::Other { uid, gid, .. } => (*uid, *gid),
        }
    }

    /// Has a command find the environment of its user.
    pub(super) fn tell(&self, command: &mut Command) {
        for name in SUDO {
            command.env_remove(name);
        }
        if let Self::Other {
            known: Some(known), ..
        } = self
        {
            command.env("HOME", &known.home).env("SHELL", &known.shell);
            command.env("USER", &known.name).env("LOGNAME", &known.name);
        }
    }

    /// Takes the user's groups, for which it needs this process's privileges.
    pub(super) fn take_groups(&self) -> Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other {
                gid,
                known: Some(known),
                ..
            } => {
                let name = CString::new(known.name.as_str()).context("the user's name")?;
                initgroups(&name, Gid::from_raw(*gid))
                    .with_context(|| format!("taking the groups of {}", known.name))
            }
            Self::Other { gid, .. } => {
                let gid = Gid::from_raw(*gid);
                setgroups(&[gid]).with_context(|| format!("taking the group {gid}"))
            }
        }
    }

    /// Becomes the user, for good, in this process of one thread.
    pub(super) fn become_user(&self) -> Result<()> {
        let Self::Other { uid, gid, .. } = self else {
            return Ok(());
        };
        let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
        setresgid(gid, gid, gid).with_context(|| format!("becoming group {gid}"))?;
        setresuid(uid, uid, uid).with_context(|| format!("becoming user {uid}"))
    }
}
