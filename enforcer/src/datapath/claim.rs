//! Which enforcer owns a root. The kernel itself stores that, as programs at the root's cgroup.
//!
//! A claim is a program of two instructions, attached twice to a hook at which it allows everything. No other
//! software attaches one program twice, so that claims can be told from other programs by their identifiers alone:
//! reading names requires CAP_SYS_ADMIN. This process holds the links and never pins them, so that a claim ends with
//! its enforcer, however that ends. Of several claims at one cgroup, the one that was complete first counts.
//!
//! Attaching requires CAP_NET_ADMIN and CAP_BPF in the initial user namespace. A lock on the cgroup's folder would
//! not suffice: every process that can read a file can lock it.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::Path,
};

use anyhow::{Context as _, Result, bail};

use super::sys::{self, Which};

/// `BPF_CGROUP_INET6_GETSOCKNAME`: since 5.8, runs at `getsockname` of IPv6 sockets alone, and other software does not
/// use it.
const HOOK: u32 = 32;

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const KIND: u32 = 18;

/// `return 1`, which lets the call through.
const INSTRUCTIONS: [u64; 2] = [0x0000_0001_0000_00b7, 0x95];

/// A cgroup that belongs to this enforcer for as long as this lives.
pub(super) struct Claim {
    program: u32,
    _links: [OwnedFd; 2],
}

impl Claim {
    /// Claims the cgroup whose folder is open.
    ///
    /// # Errors
    /// If another running enforcer has it, or the kernel refuses.
    pub(super) fn new(folder: &File) -> Result<Self> {
        let program = sys::load_program(KIND, HOOK, c"enforcer_claim", &INSTRUCTIONS)
            .context("loading the program of a claim")?;
        let attach = || sys::create_link(&program, folder, HOOK).context("attaching a claim");
        let claim = Self {
            _links: [attach()?, attach()?],
            program: sys::id(&program).context("asking for a program's identifier")?,
        };
        match first(folder)? {
            Some(first) if first != claim.program => {
                let who = holder(first).map_or_else(String::new, |pid| format!(" (pid {pid})"));
                bail!("another enforcer{who} has it");
            }
            _ => Ok(claim),
        }
    }

    /// Whether it still counts: root can detach it.
    pub(super) fn is_held(&self, folder: &File) -> bool {
        first(folder).is_ok_and(|first| first == Some(self.program))
    }
}

/// The program of the claim that counts at a cgroup, if there is one.
fn first(folder: &File) -> Result<Option<u32>> {
    let attached =
        sys::programs(folder, HOOK, Which::Attached).context("asking for the claims at a cgroup")?;
    Ok(first_twice(&attached))
}

/// The kernel lists programs in the order in which they were attached.
fn first_twice(programs: &[u32]) -> Option<u32> {
    let mut rest = programs.iter().enumerate();
    rest.find_map(|(place, program)| programs[..place].contains(program).then_some(*program))
}

/// The process that holds a link of this program. None if this process may not inspect it.
fn holder(program: u32) -> Option<u32> {
    let line = format!("prog_id:\t{program}");
    let holds = |process: &Path| {
        let descriptors = fs::read_dir(process.join("fdinfo"))
            .into_iter()
            .flatten()
            .flatten();
        descriptors
            .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
            .any(|about| about.lines().any(|one| one == line))
    };
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let others = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    others
        .filter(|pid| *pid != std::process::id())
        .find(|pid| holds(&Path::new("/proc").join(pid.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_that_was_complete_first_counts() {
        for (attached, first) in [
            (&[][..], None),
            (&[7], None),
            (&[7, 8, 9], None),
            (&[7, 7], Some(7)),
            (&[3, 7, 7], Some(7)),
            (&[7, 8, 8, 7], Some(8)),
            (&[7, 8, 7, 8], Some(7)),
        ] {
            assert_eq!(first_twice(attached), first, "{attached:?}");
        }
    }
}
