//! The maps, and how programs look things up in them.

use core::{ffi::c_void, ptr::null};

use aya_ebpf::{
    bindings::{
        BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP,
        BPF_RB_NO_WAKEUP, bpf_map_type::BPF_MAP_TYPE_SK_STORAGE,
    },
    macros::{btf_map, map},
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf, lpm_trie::Key},
};
use enforcer_common::{
    Address, Binding, CgroupId, Counter, Flow, Heard, Kinds, Mode, Nearest, PeerKey, Policy, PolicyId,
    PortKey, RuleKey, Rules, Scope, SeenKey, Settings, Share, ShareKey, SocketState, Tally, Verdicts,
    maps::{
        ASKED_CAPACITY, EVENTS_BYTES, EXACT_CAPACITY, NEAREST_CAPACITY, PEERS_CAPACITY, POLICIES_CAPACITY,
        PORTS_CAPACITY, PREFIXES_CAPACITY, ROOTS_CAPACITY, SEEN_CAPACITY, SHARES_CAPACITY,
        WORKLOADS_CAPACITY, verdicts_capacity,
    },
};

use crate::clock;

pub(crate) mod names;

#[map]
static WORKLOADS: HashMap<CgroupId, Binding> =
    HashMap::with_max_entries(WORKLOADS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static POLICIES: Array<Policy> = Array::with_max_entries(PolicyId::indices(POLICIES_CAPACITY), 0);
#[map]
static KINDS: Array<Kinds> = Array::with_max_entries(Scope::indices(POLICIES_CAPACITY), 0);
#[map]
static NEAREST: LruHashMap<CgroupId, Nearest> = LruHashMap::with_max_entries(NEAREST_CAPACITY, 0);
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
#[map]
static READER: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static PEERS: LruHashMap<PeerKey, Heard> = LruHashMap::with_max_entries(PEERS_CAPACITY, 0);
#[map]
pub(crate) static ASKED: LruHashMap<PeerKey, Heard> = LruHashMap::with_max_entries(ASKED_CAPACITY, 0);
#[map]
static SHARES: LruHashMap<ShareKey, Share> = LruHashMap::with_max_entries(SHARES_CAPACITY, 0);
#[map]
static SEEN: HashMap<SeenKey, Tally> = HashMap::with_max_entries(SEEN_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static VERDICTS: PerCpuHashMap<CgroupId, Verdicts> =
    PerCpuHashMap::with_max_entries(verdicts_capacity(WORKLOADS_CAPACITY), BPF_F_NO_PREALLOC);
#[btf_map]
static SOCKETS: SocketStorage = SocketStorage::new();

/// A socket storage whose values the kernel copies from a listening socket to the accepted ones. The loader
/// reads the definition from the types of the fields; the pointers are never set.
#[repr(C)]
struct SocketStorage {
    r#type: *const [i32; BPF_MAP_TYPE_SK_STORAGE as usize],
    key: *const i32,
    value: *const SocketState,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; (BPF_F_NO_PREALLOC | BPF_F_CLONE) as usize],
}

impl SocketStorage {
    const fn new() -> Self {
        Self {
            r#type: null(),
            key: null(),
            value: null(),
            max_entries: null(),
            map_flags: null(),
        }
    }
}

// SAFETY: the pointers are never followed.
unsafe impl Sync for SocketStorage {}

/// The sockets' storage, as helpers expect it.
#[inline(always)]
pub(crate) fn sockets_map() -> *mut c_void {
    (&raw const SOCKETS).cast_mut().cast()
}

/// Flags with which an event is submitted: the reader is not woken while it looks by itself, unless much waits. To be woken takes several
/// microseconds, in which the call waits.
#[inline(always)]
pub(crate) fn waking() -> u64 {
    match READER.get(0) {
        Some(0) | None => 0,
        Some(_) if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(EVENTS_BYTES / 4) => {
            u64::from(BPF_RB_FORCE_WAKEUP)
        }
        Some(_) => u64::from(BPF_RB_NO_WAKEUP),
    }
}

/// Whether one more of this share, of so many in a period, may be told at `now`, in nanoseconds since boot; counts it if
/// not.
#[inline(always)]
pub(crate) fn is_within_share(key: &ShareKey, now: u64, limit: u64) -> bool {
    let period = now / Share::PERIOD;
    let Some(share) = SHARES.get_ptr_mut(key) else {
        let first = Share {
            period,
            told: 1,
            untold: 0,
        };
        if SHARES.insert(key, first, 0).is_err() {
            // If it cannot be counted, the event is sent anyway.
        }
        return true;
    };
    // SAFETY: the value lives until the program has ended. Two concurrent calls may both begin a period, and
    // send a few events more than the limit; suppressed events are counted exactly.
    unsafe {
        if (&raw const (*share).period).read_volatile() != period {
            (&raw mut (*share).period).write_volatile(period);
            (&raw mut (*share).told).write_volatile(0);
        }
        add_one(&raw mut (*share).told);
        if (&raw const (*share).told).read_volatile() <= limit {
            return true;
        }
        add_one(&raw mut (*share).untold);
    }
    false
}

/// Counts once more what was seen before, in this tick; false if it was not.
#[inline(always)]
pub(crate) fn see_again(key: &SeenKey, tick: u64) -> bool {
    let Some(tally) = SEEN.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the value lives until the program has ended. Its memory may be reused for another entry meanwhile, which
    // then counts one more.
    unsafe {
        add_one(&raw mut (*tally).count);
        if (&raw const (*tally).tick).read_volatile() != tick {
            (&raw mut (*tally).last).write_volatile(clock::now());
            (&raw mut (*tally).tick).write_volatile(tick);
        }
    }
    true
}

/// Counts what is seen for the first time, at this time and tick; if there is no room, counts that for its share, and
/// returns false.
#[inline(always)]
pub(crate) fn see(key: &SeenKey, [last, tick]: [u64; 2], share: &ShareKey) -> bool {
    let first = Tally { count: 1, last, tick };
    if SEEN.insert(key, first, u64::from(BPF_NOEXIST)).is_ok() || see_again(key, tick) {
        return true;
    }
    if let Some(share) = SHARES.get_ptr_mut(share) {
        // SAFETY: the value lives until the program has ended.
        unsafe { add_one(&raw mut (*share).untold) };
    }
    false
}

/// Adds one atomically.
///
/// # Safety
/// `number` must point into a map's value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn add_one(number: *mut u64) {
    // SAFETY: the caller's promise. The instruction returns no value, so that kernels before 5.12 have it
    // too; the compiler offers only those that return one.
    unsafe {
        core::arch::asm!("lock *(u64 *)({number} + 0) += {one}", number = in(reg) number, one = in(reg) 1_u64);
    }
}

/// The same for builds that only check the programs and never run them.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn add_one(number: *mut u64) {
    // SAFETY: the caller's promise.
    unsafe { *number += 1 };
}

/// Adds one atomically to the number at a place of a workload's verdicts. The place is masked by the program itself: the
/// compiler knows which places there are and would leave the mask out, and the verifier does not.
///
/// # Safety
/// `verdicts` must be a map's value.
#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn add_one_at(verdicts: *mut Verdicts, place: u64) {
    const { assert!(Verdicts::PLACES == 64) };
    // SAFETY: the caller's promise, and the mask.
    unsafe {
        core::arch::asm!(
            "{place} &= 63",
            "{place} <<= 3",
            "{verdicts} += {place}",
            "lock *(u64 *)({verdicts} + 0) += {one}",
            place = inout(reg) place => _, verdicts = inout(reg) verdicts => _, one = in(reg) 1_u64
        );
    }
}

/// The same for builds that only check the programs and never run them.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
unsafe fn add_one_at(verdicts: *mut Verdicts, place: u64) {
    // SAFETY: the caller's promise.
    unsafe { (*verdicts).0[place as usize] += 1 };
}

/// Adds one atomically, and returns the previous value. For programs that need 5.17 anyway.
///
/// # Safety
/// As above.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) unsafe fn fetch_add_one(number: *mut u64) -> u64 {
    let mut before = 1_u64;
    // SAFETY: the caller's promise.
    unsafe {
        core::arch::asm!("{before} = atomic_fetch_add((u64 *)({number} + 0), {before})", number = in(reg) number, before = inout(reg) before);
    }
    before
}

/// The same for builds that only check the programs and never run them.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "bpf"))]
pub(crate) unsafe fn fetch_add_one(number: *mut u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        let before = *number;
        *number += 1;
        before
    }
}

/// The kernel's implementation of the rules, for one workload and destination.
pub(crate) struct Kernel {
    /// Whether it is one of the workload's own addresses.
    pub(crate) is_own: bool,
}

impl Rules for Kernel {
    #[inline(always)]
    fn kinds(&self, scope: Scope) -> Kinds {
        kinds(scope)
    }

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
    fn own(&self, _: &Address) -> bool {
        self.is_own
    }

    #[inline(always)]
    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        // Looked up separately, by `names::is_granted`: the stack does not have room for both.
        let _ = (scopes, flow);
        false
    }
}

/// The settings, once the daemon has written them.
#[inline(always)]
pub(crate) fn settings() -> Option<&'static Settings> {
    SETTINGS.get(0)
}

/// The mode for processes of no known workload; refuses if it cannot be read.
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

/// The binding of a workload.
#[inline(always)]
pub(crate) fn binding(cgroup: CgroupId) -> Option<&'static Binding> {
    // SAFETY: the map is not preallocated, so that an update allocates a new value. Before 6.1 the old one
    // stays unchanged until the program has ended (RCU). From then on (`bpf_mem_cache_free` in
    // `htab_elem_free`) its memory stays valid but may be reused at once for another key: the value is plain
    // numbers, for which any bits are valid.
    unsafe { WORKLOADS.get(cgroup) }
}

/// A policy by its identifier. By value: the daemon may write it meanwhile, so that its mode is read first and last.
#[inline(always)]
pub(crate) fn policy(id: PolicyId) -> Option<Policy> {
    let place: *const Policy = POLICIES.get(id.0)?;
    // SAFETY: the entry of an array lives as long as the map.
    unsafe {
        let mode = (&raw const (*place).mode).read_volatile();
        let policy = Policy {
            mode,
            own: (&raw const (*place).own).read_volatile(),
            shared: (&raw const (*place).shared).read_volatile(),
            flags: (&raw const (*place).flags).read_volatile(),
        };
        let is_same = (&raw const (*place).mode).read_volatile() == mode;
        (mode != 0 && is_same).then_some(policy)
    }
}

/// The kinds of rules that a scope has. Of one that has no place there, any.
#[inline(always)]
pub(crate) fn kinds(scope: Scope) -> Kinds {
    match KINDS.get(scope.0) {
        // SAFETY: the entry of an array lives as long as the map. Volatile, because the daemon may write it meanwhile.
        Some(kinds) => unsafe { (&raw const *kinds).read_volatile() },
        None => Kinds::ALL,
    }
}

/// Whether a policy may have rules with a host.
#[inline(always)]
pub(crate) fn has_hosts(id: PolicyId) -> bool {
    match policy(id) {
        Some(policy) => kinds(policy.own).and(kinds(policy.shared)).has(Kinds::HOST),
        None => false,
    }
}

/// The remembered workload of a cgroup, if it still counts: its cgroup, its policy or 0, and whether `address` is one of
/// its own.
#[inline(always)]
pub(crate) fn nearest(of: CgroupId, epoch: u64, address: &Address) -> Option<(CgroupId, PolicyId, bool)> {
    let found = NEAREST.get_ptr(of)?;
    // SAFETY: the value lives until the program has ended. Its memory may be reused for another entry meanwhile, so that
    // its cgroup is read first and last.
    unsafe {
        let is_of = || (&raw const (*found).of).read_volatile().0 == of.0;
        if !is_of() || (&raw const (*found).epoch).read_volatile() != epoch {
            return None;
        }
        let workload = (&raw const (*found).workload).read_volatile();
        let policy = (&raw const (*found).binding.policy).read_volatile();
        // As numbers, which need no stack.
        let [high, low] = address.halves();
        let own = (&raw const (*found).binding.own).cast::<u64>();
        let at = |place: usize| own.wrapping_add(place).read_volatile();
        let is_v4 = (at(0) ^ low) | (at(1) ^ high) == 0;
        let is_v6 = (at(2) ^ low) | (at(3) ^ high) == 0;
        let is_own = policy.0 != 0 && (is_v4 || is_v6);
        is_of().then_some((workload, policy, is_own))
    }
}

/// Remembers a cgroup's workload, if there is memory.
#[inline(always)]
pub(crate) fn remember(nearest: &Nearest) {
    if NEAREST.insert(nearest.of, nearest, 0).is_err() {
        // It is looked for again the next time.
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the value lives until the program has ended. It belongs to this CPU, on which a packet
        // program may interrupt another program.
        unsafe { add_one(value) };
    }
}

/// Counts a verdict for a workload, or for all that are unknown where it has no entry: the daemon makes one together with
/// its binding. A function of its own, with numbers alone: so it costs the programs little of their stack.
#[inline(never)]
pub(crate) fn count_verdict(workload: u64, place: u64) {
    let found = VERDICTS.get_ptr_mut(CgroupId(workload));
    if let Some(verdicts) = found.or_else(|| VERDICTS.get_ptr_mut(Share::UNKNOWN)) {
        // SAFETY: the value lives until the program has ended, and is this CPU's; a packet's program may interrupt
        // another one there.
        unsafe { add_one_at(verdicts, place) };
    }
}
