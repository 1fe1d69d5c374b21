//! The limit on locked memory.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// Lifts the limit on locked memory, to which kernels before 5.11 charge maps and programs. Newer kernels do not, so
/// that a failure matters only if a map is refused later.
pub fn raise_memlock() {
    let lifted = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if lifted.is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK)
        && let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)
    {
        tracing::debug!("the limit on locked memory stays as it is: {error}");
    }
}
