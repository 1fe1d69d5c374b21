//! How memory is taken from the system.

/// Has all threads share one arena, as they do in the static binary. glibc gives each its own, and what one thread
/// allocates and another frees stays where it was: with 10,000 entries that is 20 MB more. To be called before there
/// are threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "glibc offers it as a C function only")]
pub(crate) fn share_arena() {
    // SAFETY: `mallopt` takes two numbers by value, and M_ARENA_MAX is one it knows (mallopt(3)).
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) } == 1;
    if !is_set {
        tracing::debug!("glibc keeps an arena for each thread");
    }
}

/// Nothing: only glibc has arenas.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn share_arena() {}
