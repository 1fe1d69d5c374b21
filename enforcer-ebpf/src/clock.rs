//! The kernel's clocks.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};

/// Nanoseconds since boot, without the time that the machine slept.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// Ticks, of which some hundred or thousand are a second. Reading them is a load of memory; reading [`now`] took 42 ns,
/// a fifth of a connect().
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_jiffies64() }
}
