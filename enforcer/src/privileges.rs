//! What the process may do: what it needs is checked, and the rest is given up.
//!
//! **Architecture Invariant:** capabilities belong to a thread and are handed on to those that it starts. They are
//! given up before the first of these, so that none has more.

use std::{collections::HashSet, fmt};

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

use crate::{config::Config, datapath};

/// A capability, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privilege {
    capability: Capability,
    purpose: &'static str,
    needed: Needed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needed {
    /// Nothing is enforced without it.
    Always,
    /// Sockets are not ended without it.
    ToRevoke,
    /// Some things are not reached without it.
    AtTimes,
}

const PRIVILEGES: [Privilege; 6] = [
    needed(
        Capability::CAP_BPF,
        "to create maps and load programs",
        Needed::Always,
    ),
    needed(
        Capability::CAP_PERFMON,
        "to load programs without the limits of unprivileged ones",
        Needed::Always,
    ),
    needed(
        Capability::CAP_NET_ADMIN,
        "to attach programs to cgroups and end sockets",
        Needed::Always,
    ),
    needed(
        Capability::CAP_SYS_ADMIN,
        "to enter workloads' network namespaces",
        Needed::ToRevoke,
    ),
    needed(
        Capability::CAP_SYS_PTRACE,
        "to find workloads' network namespaces, and to read the node's resolv.conf",
        Needed::ToRevoke,
    ),
    needed(
        Capability::CAP_DAC_OVERRIDE,
        "to use files and cgroups that belong to other users",
        Needed::AtTimes,
    ),
];

const fn needed(capability: Capability, purpose: &'static str, needed: Needed) -> Privilege {
    Privilege {
        capability,
        purpose,
        needed,
    }
}

/// `CAP_BPF (to create maps and load programs)`
impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.capability, self.purpose)
    }
}

/// Takes what enforcing needs and gives up the rest, for good. To be called while the process has one thread.
/// Without what revocation needs, `config.revoke` becomes false.
///
/// # Errors
/// Names what is missing, if nothing can be enforced without it.
pub fn drop_unneeded(config: &mut Config) -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("reading the process's capabilities")?;
    let is_missing = |privilege: &&Privilege| !held.contains(&privilege.capability);
    let missing = |needed| {
        listed(
            PRIVILEGES
                .iter()
                .filter(is_missing)
                .filter(move |it| it.needed == needed),
        )
    };
    if let Some(missing) = missing(Needed::Always) {
        bail!("missing {missing}: run as root or grant them");
    }
    if let Some(missing) = missing(Needed::ToRevoke).filter(|_| config.revoke) {
        tracing::warn!(
            "missing {missing}: sockets that are no longer allowed stay open, as with revoke: false"
        );
        config.revoke = false;
    }
    if let Some(missing) = missing(Needed::AtTimes) {
        // A container that is given what it needs, and no more, is well off without it.
        tracing::info!(
            "running without {missing}: files and cgroups of other users may be unreadable, and each that is will be \
             reported"
        );
    }
    // Takes CAP_SYS_RESOURCE, which is not kept.
    datapath::raise_memlock();
    // The node's resolv.conf and its kubelet's settings are behind the root of process 1, which has more capabilities than
    // this one keeps.
    let pods = config.pods.as_ref();
    let reads_node = pods.is_some_and(|pods| !pods.built_in.resolv_confs.is_empty() || pods.roots.is_empty());
    let is_kept = |privilege: &&Privilege| {
        let is_for_node = reads_node && privilege.capability == Capability::CAP_SYS_PTRACE;
        privilege.needed != Needed::ToRevoke || config.revoke || is_for_node
    };
    let kept = PRIVILEGES
        .iter()
        .filter(is_kept)
        .map(|privilege| privilege.capability);
    keep(&kept.filter(|capability| held.contains(capability)).collect())
}

/// Gives up all of it, for good: of a process that only asks. To be called while it has one thread.
///
/// # Errors
/// If the kernel does not let it.
pub fn drop_all() -> Result<()> {
    keep(&HashSet::new())
}

fn listed<'a>(privileges: impl Iterator<Item = &'a Privilege>) -> Option<String> {
    let names: Vec<_> = privileges.map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Gives up all but `kept`, and what could bring others back: a program that is executed later.
pub(crate) fn keep(kept: &CapsHashSet) -> Result<()> {
    prctl::set_no_new_privs().context("giving up new privileges")?;
    // Only who may set capabilities may bound them; without new privileges the bound is a second one.
    let may_bound = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP);
    if may_bound.context("reading the process's capabilities")? {
        let bounding = caps::read(None, CapSet::Bounding).context("reading the bound of capabilities")?;
        for capability in bounding.difference(kept) {
            caps::drop(None, CapSet::Bounding, *capability)
                .with_context(|| format!("giving up {capability} for good"))?;
        }
    }
    for (set, capabilities) in [
        (CapSet::Effective, kept),
        (CapSet::Permitted, kept),
        (CapSet::Inheritable, &HashSet::new()),
    ] {
        caps::set(None, set, capabilities).context("giving up capabilities")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named_with_their_purpose() {
        let missing = |needed| listed(PRIVILEGES.iter().filter(move |it| it.needed == needed)).unwrap();
        assert!(
            missing(Needed::Always).starts_with("CAP_BPF (to create maps and load programs), CAP_PERFMON (")
        );
        assert_eq!(
            missing(Needed::AtTimes),
            "CAP_DAC_OVERRIDE (to use files and cgroups that belong to other users)"
        );
        assert_eq!(listed([].iter()), None);
    }
}
