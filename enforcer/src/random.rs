//! Numbers that nobody foresees.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// One. It is the standard library's only source of randomness, whose keys come from the kernel; no secret depends on it.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}
