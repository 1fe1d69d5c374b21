//! What a process must be allowed to do before it can enforce.

use std::fs;

use anyhow::{Context as _, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Bit numbers of `linux/capability.h`, and what each is for.
const NEEDED: [(u32, &str, &str); 3] = [
    (12, "CAP_NET_ADMIN", "to attach programs to cgroups"),
    (
        38,
        "CAP_PERFMON",
        "to load programs without the limits of unprivileged ones",
    ),
    (39, "CAP_BPF", "to create maps and load programs"),
];

/// The capabilities that are needed and absent, with what they are for.
///
/// # Errors
/// If `/proc` is not there.
pub fn missing_capabilities() -> Result<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status").context("reading the process's capabilities")?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .context("/proc/self/status has no CapEff")?;
    Ok(missing_in(effective))
}

fn missing_in(effective: u64) -> Vec<String> {
    NEEDED
        .iter()
        .filter(|(bit, _, _)| effective & (1 << bit) == 0)
        .map(|(_, name, purpose)| format!("{name} ({purpose})"))
        .collect()
}

/// Lifts the limit on locked memory, which kernels before 5.11 charge maps and programs to. Newer ones do not,
/// so that a failure matters only if a map is refused later.
pub fn raise_memlock() {
    let lifted = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if lifted.is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)
    {
        tracing::debug!("the limit on locked memory stays as it is: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capability_is_named_with_its_purpose() {
        assert_eq!(missing_in(u64::MAX), Vec::<String>::new());
        assert_eq!(
            missing_in(!(1 << 39)),
            ["CAP_BPF (to create maps and load programs)"]
        );
        assert_eq!(missing_in(0).len(), NEEDED.len());
    }
}
