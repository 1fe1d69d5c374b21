//! Names and capacities of the maps.
//!
//! | map | key | value |
//! |---|---|---|
//! | `WORKLOADS` | [`crate::CgroupId`] | [`crate::Binding`] |
//! | `POLICIES` | [`crate::PolicyId`], as an index | [`crate::Policy`]; all zero if there is none |
//! | `KINDS` | [`crate::Scope`], as an index | [`crate::Kinds`] |
//! | `NEAREST` | [`crate::CgroupId`] | [`crate::Nearest`]; the least recently used go |
//! | `EXACT` | [`crate::RuleKey`] | `u32`, unused |
//! | `PREFIXES` | trie of [`crate::RuleKey`] | `u32`, unused |
//! | `PORTS` | [`crate::PortKey`] | `u32`, unused |
//! | `ROOTS` | [`crate::CgroupId`] | `u32`, unused |
//! | `SETTINGS` | 0 | [`crate::Settings`] |
//! | `COUNTERS` | [`crate::Counter`] | `u64` on each CPU |
//! | `EVENTS` | ring buffer | [`crate::Event`] |
//! | `READER` | 0 | `u32`: not 0 while the daemon looks for events by itself |
//! | `SOCKETS` | a socket (its own storage) | [`crate::SocketState`] |
//! | `PEERS`, `ASKED` | [`crate::PeerKey`] | [`crate::Heard`]; the least recently used go |
//! | `SHARES` | [`crate::ShareKey`] | [`crate::Share`]; the least recently used go |
//! | `HOSTS` | [`crate::HostKey`] | `u32`, unused |
//! | `PATTERNS` | trie of [`crate::PatternKey`] | [`crate::Pattern`] |
//! | `RESOLVERS` | [`crate::ResolverKey`] | `u32`, unused |
//! | `PROTECTED` | trie of [`crate::Address`] | `u32`, unused |
//! | `QUESTIONS` | [`crate::QuestionKey`] | [`crate::Question`] |
//! | `LEARNED` | [`crate::LearnedKey`] | [`crate::Learned`] |
//! | `SLOTS` | [`crate::SlotsKey`] | [`crate::Slots`] |
//! | `LEARNERS` | [`crate::CgroupId`] | [`crate::Learner`] |
//! | `SEEN` | [`crate::SeenKey`] | [`crate::Tally`] |
//! | `VERDICTS` | [`crate::CgroupId`], or [`crate::Share::UNKNOWN`] | [`crate::Verdicts`] on each CPU |
//! | `NAMED` | [`crate::LearnedKey`] | [`crate::Named`]; the least recently used go |

/// Changes whenever a key, a value or the meaning of a map changes; part of the path of the pins.
pub const LAYOUT: u32 = 10;

/// Changes whenever the same changes of the maps `QUESTIONS`, `LEARNED`, `SLOTS`, `LEARNERS` and `NAMED`: an enforcer of
/// another [`LAYOUT`] takes them over if this is the same.
pub const NAMES_LAYOUT: u32 = 1;
/// The same of `SOCKETS`, `PEERS` and `ASKED`.
pub const SOCKETS_LAYOUT: u32 = 1;
/// The same of `SEEN`.
pub const SEEN_LAYOUT: u32 = 1;

/// Maps a workload's cgroup to its policy and own addresses.
pub const WORKLOADS: &str = "WORKLOADS";
/// Policies by identifier.
pub const POLICIES: &str = "POLICIES";
/// Which kinds of rules each scope has.
pub const KINDS: &str = "KINDS";
/// What the programs remember of cgroups' workloads.
pub const NEAREST: &str = "NEAREST";
/// Rules with one address.
pub const EXACT: &str = "EXACT";
/// Rules with a network.
pub const PREFIXES: &str = "PREFIXES";
/// Rules with any address.
pub const PORTS: &str = "PORTS";
/// Cgroups below which everything is enforced.
pub const ROOTS: &str = "ROOTS";
/// Settings for all programs.
pub const SETTINGS: &str = "SETTINGS";
/// Counters of the programs.
pub const COUNTERS: &str = "COUNTERS";
/// Events from the programs.
pub const EVENTS: &str = "EVENTS";
/// Whether the events' reader has to be woken.
pub const READER: &str = "READER";
/// State of sockets.
pub const SOCKETS: &str = "SOCKETS";
/// Peers that have sent a datagram to a socket, and may be answered.
pub const PEERS: &str = "PEERS";
/// Peers to which a rule has allowed a socket to send a datagram: what they send is an answer, and gives no
/// permission to answer them.
pub const ASKED: &str = "ASKED";
/// The number of events that each workload has caused.
pub const SHARES: &str = "SHARES";
/// Rules with a host.
pub const HOSTS: &str = "HOSTS";
/// Every host that a rule names, by its reversed name.
pub const PATTERNS: &str = "PATTERNS";
/// Servers whose answers count.
pub const RESOLVERS: &str = "RESOLVERS";
/// Networks whose addresses are not learned.
pub const PROTECTED: &str = "PROTECTED";
/// Questions that wait for their answer.
pub const QUESTIONS: &str = "QUESTIONS";
/// Addresses that workloads were given for hosts that rules name.
pub const LEARNED: &str = "LEARNED";
/// The order of each workload's questions and addresses, so that the oldest ones are replaced.
pub const SLOTS: &str = "SLOTS";
/// The slot counters of each workload.
pub const LEARNERS: &str = "LEARNERS";
/// Addresses that workloads were given for hosts that no rule names: for log messages only.
pub const NAMED: &str = "NAMED";

/// What workloads were seen to do since that was last read.
pub const SEEN: &str = "SEEN";

/// How many verdicts of each kind were made for each workload.
pub const VERDICTS: &str = "VERDICTS";

/// Default number of workloads that fit.
pub const WORKLOADS_CAPACITY: u32 = 16_384;
/// Default number of policies that fit.
pub const POLICIES_CAPACITY: u32 = 4_096;
/// Number of cgroups whose workload is remembered.
pub const NEAREST_CAPACITY: u32 = 16_384;
/// Default number of exact rules that fit.
pub const EXACT_CAPACITY: u32 = 262_144;
/// Default number of prefix rules that fit.
pub const PREFIXES_CAPACITY: u32 = 65_536;
/// Default number of port rules that fit.
pub const PORTS_CAPACITY: u32 = 65_536;
/// Number of enforced roots that fit: each workload can be one.
pub const ROOTS_CAPACITY: u32 = WORKLOADS_CAPACITY;
/// Number of peer entries, over all sockets: each peer has two.
pub const PEERS_CAPACITY: u32 = 131_072;
/// The same for peers that were asked. They have a map of their own, so that one workload's questions do not
/// displace another's clients.
pub const ASKED_CAPACITY: u32 = 32_768;
/// Number of event shares: one for each kind of call of each workload.
pub const SHARES_CAPACITY: u32 = 4 * WORKLOADS_CAPACITY;
/// Bytes of the events' ring buffer.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Default number of rules with a host that fit, and of hosts.
pub const HOSTS_CAPACITY: u32 = 65_536;
/// Number of servers whose answers count.
pub const RESOLVERS_CAPACITY: u32 = 4_096;
/// Number of networks whose addresses are not learned.
pub const PROTECTED_CAPACITY: u32 = 131_072;
/// Number of learned addresses that fit, over all workloads. Their memory is there from the start: the kernel takes
/// microseconds to allocate an entry, for which the answer would wait.
pub const LEARNED_CAPACITY: u32 = 65_536;
/// Number of workloads that can learn anything: whatever number is configured, because the map outlives that.
pub const LEARNERS_CAPACITY: u32 = WORKLOADS_CAPACITY;
/// Number of questions that wait at once, over all workloads.
pub const QUESTIONS_CAPACITY: u32 = 262_144;
/// The most questions of one workload that wait at once; fewer where the share of addresses is smaller.
pub const QUESTIONS_SHARE: u32 = 512;
/// Slots in a row.
pub const SLOTS_ROW: u32 = 64;
/// Rows of slots: full ones for both kinds, and the last one of each kind of each workload.
pub const SLOTS_CAPACITY: u32 = (LEARNED_CAPACITY + QUESTIONS_CAPACITY) / SLOTS_ROW + 2 * WORKLOADS_CAPACITY;
/// Number of names that are stored for messages.
pub const NAMED_CAPACITY: u32 = 16_384;
/// Number of workloads whose verdicts are counted: those that are bound, those of which what was counted is still to be
/// taken, and all unknown ones together.
pub const fn verdicts_capacity(workloads: u32) -> u32 {
    workloads.saturating_add(workloads / 4).saturating_add(64)
}
/// Number of destinations that can be seen between two times at which they are read.
pub const SEEN_CAPACITY: u32 = 16_384;
