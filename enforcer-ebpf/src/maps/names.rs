//! The maps for learned names, and the buffer in which an answer is read.

use core::{ffi::c_void, ptr::addr_of_mut};

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    helpers::generated::bpf_map_lookup_elem,
    macros::map,
    maps::{HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
};
use enforcer_common::{
    Address, CgroupId, HostId, HostKey, Learned, LearnedKey, Learner, Named, Pattern, PatternKey, PolicyId,
    PortKey, Question, QuestionKey, ResolverKey, Slots, SlotsKey, Transport,
    dns::{self, QuestionParser, RecordsParser},
    learned::{self, NAME},
    maps::{
        HOSTS_CAPACITY, LEARNED_CAPACITY, NAMED_CAPACITY, PROTECTED_CAPACITY, QUESTIONS_CAPACITY,
        RESOLVERS_CAPACITY, SLOTS_CAPACITY, WORKLOADS_CAPACITY,
    },
};

use crate::clock;

#[map]
pub(crate) static HOSTS: HashMap<HostKey, u32> = HashMap::with_max_entries(HOSTS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static PATTERNS: LpmTrie<PatternKey, Pattern> = LpmTrie::with_max_entries(HOSTS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static RESOLVERS: HashMap<ResolverKey, u32> =
    HashMap::with_max_entries(RESOLVERS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static PROTECTED: LpmTrie<Address, u32> = LpmTrie::with_max_entries(PROTECTED_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static QUESTIONS: HashMap<QuestionKey, Question> =
    HashMap::with_max_entries(QUESTIONS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static LEARNED: HashMap<LearnedKey, Learned> = HashMap::with_max_entries(LEARNED_CAPACITY, 0);
#[map]
pub(crate) static SLOTS: HashMap<SlotsKey, Slots> =
    HashMap::with_max_entries(SLOTS_CAPACITY, BPF_F_NO_PREALLOC);

#[map]
pub(crate) static LEARNERS: HashMap<CgroupId, Learner> =
    HashMap::with_max_entries(WORKLOADS_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
pub(crate) static NAMED: LruHashMap<LearnedKey, Named> = LruHashMap::with_max_entries(NAMED_CAPACITY, 0);
#[map]
pub(crate) static STREAMS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(STREAMS_CAPACITY, 0);
#[map]
pub(crate) static PARTS: LruHashMap<u64, [u8; 2 * PART]> = LruHashMap::with_max_entries(PARTS_CAPACITY, 0);
#[map]
static DESK: PerCpuArray<Desk> = PerCpuArray::with_max_entries(1, 0);

/// Connections to resolvers that are followed, over all workloads.
const STREAMS_CAPACITY: u32 = 16_384;

/// Answers over TCP that wait for their second packet, over all workloads.
const PARTS_CAPACITY: u32 = 256;

/// The most bytes that each of the two packets may have.
pub(crate) const PART: usize = 2048;

/// The state of a followed TCP connection; by the socket's cookie.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Stream {
    /// The sequence number of the next byte.
    pub(crate) next: u32,
    /// Bytes of the next message that are buffered in `PARTS`.
    pub(crate) have: u32,
    /// Bytes to skip, which belong to a message that is not parsed.
    pub(crate) skip: u32,
    pub(crate) pad: u32,
}

/// The most patterns that are looked up for one name: the name itself and the wildcards above it.
pub(crate) const MATCHES: usize = 4;

/// An address of an answer.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) address: Address,
    pub(crate) ttl: u32,
}

/// Buffer for parsing an answer, which does not fit the stack. Ingress programs do not interrupt one another
/// on a CPU; should they, the second finds the desk taken and learns nothing.
#[repr(C)]
pub(crate) struct Desk {
    /// Not 0 while it is in use.
    pub(crate) taken: u64,
    /// The workload.
    pub(crate) owner: u64,
    /// Nanoseconds since boot.
    pub(crate) now: u64,
    pub(crate) question: QuestionParser,
    pub(crate) records: RecordsParser,
    /// The result of the parsers.
    pub(crate) failure: u32,
    /// Bytes of the message.
    pub(crate) length: u32,
    /// Keeps what follows aligned.
    pub(crate) filler: u32,
    /// How many of the hosts of `learned` are hosts that rules name.
    pub(crate) matches: u32,
    /// Keeps what follows aligned.
    pub(crate) align: u64,
    /// Number of significant bits of the key, followed by the key, as an LPM trie expects it.
    pub(crate) bits: u32,
    pub(crate) key: [u8; NAME],
    /// Keeps what follows aligned.
    pub(crate) pad: u32,
    /// The entry to write for each address; its name is the question's.
    pub(crate) learned: Learned,
    pub(crate) named: Named,
    /// The name in reverse: its last byte is a zero, and before that is its first label.
    pub(crate) backward: [u8; NAME],
    /// The bytes behind the header of the question that was sent.
    pub(crate) asked: [u8; 512],
    pub(crate) found: [Found; dns::ADDRESSES as usize],
    pub(crate) message: [u8; dns::MESSAGE],
    pub(crate) part: [u8; 2 * PART],
}

/// This CPU's desk.
#[inline(always)]
pub(crate) fn desk() -> Option<*mut Desk> {
    DESK.get_ptr_mut(0)
}

/// The longest pattern that the first bits of the desk's key match.
#[inline(always)]
pub(crate) fn pattern(desk: *mut Desk) -> Option<(HostId, u32, bool)> {
    // SAFETY: the key follows its bit count as the trie expects it (`struct bpf_lpm_trie_key`), within the
    // desk.
    let found = unsafe {
        bpf_map_lookup_elem(
            (&raw const PATTERNS).cast_mut().cast::<c_void>(),
            addr_of_mut!((*desk).bits).cast(),
        )
    }
    .cast::<Pattern>();
    if found.is_null() {
        return None;
    }
    // SAFETY: the helper has given a value of the map.
    unsafe { Some(((*found).host, (*found).length, (*found).wildcard != 0)) }
}

/// Whether a server's answers count.
#[inline(always)]
pub(crate) fn is_resolver(address: Address, port: [u8; 2]) -> bool {
    let key = ResolverKey {
        address,
        port,
        pad: [0; 6],
    };
    RESOLVERS.get_ptr(key).is_some()
}

/// Whether an address must not be learned.
#[inline(always)]
pub(crate) fn is_protected(address: &Address) -> bool {
    PROTECTED.get(Key::new(128, *address)).is_some()
}

/// Whether a rule of the policy names a host for which the workload was given this address; notes that the
/// address is in use. `port` is the packet's port as read in the machine's byte order, with the transport
/// above it.
#[inline(always)]
pub(crate) fn is_granted(policy: PolicyId, owner: CgroupId, address: &Address, port: u64) -> bool {
    let [high, low] = address.halves();
    by_host(owner.0, high, low, port | u64::from(policy.0) << 32) != 0
}

/// The same with plain numbers, to save stack. The verifier checks a global function once, however many
/// callers it has.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn by_host(owner: u64, high: u64, low: u64, port: u64) -> u64 {
    let key = LearnedKey {
        owner: CgroupId(owner),
        address: Address::from_halves([high, low]),
    };
    let Some(learned) = LEARNED.get_ptr_mut(key) else {
        return 0;
    };
    let (Some(settings), Some(policy)) = (super::settings(), super::policy(PolicyId((port >> 32) as u32)))
    else {
        return 0;
    };
    let now = clock::now();
    let transport = if (port >> 16) & 0xff == Transport::Tcp as u64 {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let number = (port as u16).to_ne_bytes();
    for index in 0..learned::HOSTS {
        // SAFETY: the value lives until the program has ended.
        let known = unsafe { &raw mut (*learned).hosts[index] };
        // SAFETY: as above; another CPU may write it, a number at a time.
        let (expires, host) = unsafe { ((&raw const (*known).expires).read_volatile(), (*known).host) };
        if expires <= now {
            continue;
        }
        let mut key = HostKey {
            port: PortKey::new(policy.own, transport, number),
            host,
        };
        let mut is_named = HOSTS.get_ptr(key).is_some();
        if !is_named {
            key.port.scope = policy.shared;
            is_named = HOSTS.get_ptr(key).is_some();
        }
        // SAFETY: as above. If the memory has been reused for another entry, its contents do not count for
        // this one.
        let is_still = unsafe {
            (*learned).key.owner.0 == owner && (*learned).key.address.is(&Address::from_halves([high, low]))
        };
        if is_named && is_still {
            // At most as long as an answer counts: an application that uses the address may have cached it
            // for good.
            let longest = if settings.ceiling > settings.grace {
                settings.ceiling
            } else {
                settings.grace
            };
            let renewed = now + longest;
            if expires < renewed {
                // SAFETY: as above.
                unsafe { (&raw mut (*known).expires).write_volatile(renewed) };
            }
            return 1;
        }
    }
    0
}
