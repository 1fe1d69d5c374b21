//! The maps, and the questions that programs ask them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key},
};
use enforcer_common::{
    Address, Binding, CgroupId, Counter, Mode, Policy, PolicyId, PortKey, RuleKey, Rules, Settings,
    maps::{
        EVENTS_BYTES, EXACT_CAPACITY, POLICIES_CAPACITY, PORTS_CAPACITY, PREFIXES_CAPACITY, ROOTS_CAPACITY,
        WORKLOADS_CAPACITY,
    },
};

#[map]
static WORKLOADS: HashMap<CgroupId, Binding> =
    HashMap::with_max_entries(WORKLOADS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static POLICIES: HashMap<PolicyId, Policy> = HashMap::with_max_entries(POLICIES_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static EXACT: HashMap<RuleKey, u32> = HashMap::with_max_entries(EXACT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static PREFIXES: LpmTrie<RuleKey, u32> = LpmTrie::with_max_entries(PREFIXES_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static PORTS: HashMap<PortKey, u32> = HashMap::with_max_entries(PORTS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static ROOTS: HashMap<CgroupId, u32> = HashMap::with_max_entries(ROOTS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Counter::COUNT, 0);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// The rules in the kernel, and what is a workload's own.
pub(crate) struct Kernel {
    /// The workload.
    pub(crate) cgroup: CgroupId,
}

impl Rules for Kernel {
    #[inline(always)]
    fn exact(&self, key: &RuleKey) -> bool {
        EXACT.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn prefix(&self, key: &RuleKey) -> bool {
        PREFIXES
            .get(Key::new((size_of::<RuleKey>() * 8) as u32, *key))
            .is_some()
    }

    #[inline(always)]
    fn port(&self, key: &PortKey) -> bool {
        PORTS.get_ptr(key).is_some()
    }

    #[inline(always)]
    fn own(&self, address: &Address) -> bool {
        match binding(self.cgroup) {
            Some(binding) => binding.owns(address),
            None => false,
        }
    }
}

/// The settings, once the daemon has written them.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// The mode for processes of no known workload; what cannot be read refuses.
#[inline(always)]
pub(crate) fn unknown_mode() -> u32 {
    match settings() {
        Some(settings) => settings.unknown,
        None => Mode::Enforce as u32,
    }
}

/// The kinds of socket that are opted in.
#[inline(always)]
pub(crate) fn sockets() -> u32 {
    match settings() {
        Some(settings) => settings.sockets,
        None => 0,
    }
}

/// Whether everything below this cgroup is enforced.
#[inline(always)]
pub(crate) fn is_root(cgroup: CgroupId) -> bool {
    ROOTS.get_ptr(cgroup).is_some()
}

/// What a workload is bound to.
#[inline(always)]
pub(crate) fn binding(cgroup: CgroupId) -> Option<&'static Binding> {
    // SAFETY: the map is not preallocated, so that an update makes a new value and the old one stays as it is
    // until the program has ended (RCU).
    unsafe { WORKLOADS.get(cgroup) }
}

/// A policy by its identifier.
#[inline(always)]
pub(crate) fn policy(id: PolicyId) -> Option<&'static Policy> {
    // SAFETY: as above.
    unsafe { POLICIES.get(id) }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value belongs to this CPU, on which a program of this kind is not interrupted by another
        // that counts.
        unsafe { *value += 1 };
    }
}
