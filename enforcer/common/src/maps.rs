//! Names and capacities of the maps.
//!
//! | map | key | value |
//! |---|---|---|
//! | `WORKLOADS` | [`crate::CgroupId`] | [`crate::Binding`] |
//! | `POLICIES` | [`crate::PolicyId`] | [`crate::Policy`] |
//! | `EXACT` | [`crate::RuleKey`] | `u32`, unused |
//! | `PREFIXES` | trie of [`crate::RuleKey`] | `u32`, unused |
//! | `PORTS` | [`crate::PortKey`] | `u32`, unused |
//! | `ROOTS` | [`crate::CgroupId`] | `u32`, unused |
//! | `SETTINGS` | 0 | [`crate::Settings`] |
//! | `COUNTERS` | [`crate::Counter`] | `u64` on each CPU |
//! | `EVENTS` | ring buffer | [`crate::Event`] |
//! | `SOCKETS` | a socket (its own storage) | [`crate::SocketState`] |
//! | `PEERS`, `ASKED` | [`crate::PeerKey`] | [`crate::Heard`]; the least recently used go |
//! | `SHARES` | [`crate::ShareKey`] | [`crate::Share`]; the least recently used go |
//! | `HOSTS` | [`crate::HostKey`] | `u32`, unused |
//! | `PATTERNS` | trie of [`crate::PatternKey`] | [`crate::Pattern`] |
//! | `RESOLVERS` | [`crate::ResolverKey`] | `u32`, unused |
//! | `PROTECTED` | trie of [`crate::Address`] | `u32`, unused |
//! | `QUESTIONS` | [`crate::QuestionKey`] | [`crate::Question`] |
//! | `LEARNED` | [`crate::LearnedKey`] | [`crate::Learned`] |
//! | `SLOTS` | [`crate::SlotKey`] | [`crate::Slot`] |
//! | `LEARNERS` | [`crate::CgroupId`] | [`crate::Learner`] |
//! | `NAMED` | [`crate::LearnedKey`] | [`crate::Named`]; the least recently used go |

/// Changes whenever a key, a value or the meaning of a map changes; part of the path of the pins.
pub const LAYOUT: u32 = 6;

/// Workload's cgroup to policy and own addresses.
pub const WORKLOADS: &str = "WORKLOADS";
/// Policy by its identifier.
pub const POLICIES: &str = "POLICIES";
/// Rules with one address.
pub const EXACT: &str = "EXACT";
/// Rules with a network.
pub const PREFIXES: &str = "PREFIXES";
/// Rules with any address.
pub const PORTS: &str = "PORTS";
/// Cgroups below which everything is enforced.
pub const ROOTS: &str = "ROOTS";
/// What holds for all programs.
pub const SETTINGS: &str = "SETTINGS";
/// What the programs counted.
pub const COUNTERS: &str = "COUNTERS";
/// What the programs tell.
pub const EVENTS: &str = "EVENTS";
/// What is known of a socket.
pub const SOCKETS: &str = "SOCKETS";
/// Who has sent a datagram to which socket, and may be answered.
pub const PEERS: &str = "PEERS";
/// To whom a rule has let which socket send a datagram: what comes back is an answer, and no leave to answer.
pub const ASKED: &str = "ASKED";
/// How many events each workload has caused.
pub const SHARES: &str = "SHARES";
/// Rules with a host.
pub const HOSTS: &str = "HOSTS";
/// Every host that some rule names, by its name read from the end.
pub const PATTERNS: &str = "PATTERNS";
/// Servers whose answers count.
pub const RESOLVERS: &str = "RESOLVERS";
/// Networks whose addresses are not learned.
pub const PROTECTED: &str = "PROTECTED";
/// Questions that wait for their answer.
pub const QUESTIONS: &str = "QUESTIONS";
/// Addresses that answers have given workloads for hosts that rules name.
pub const LEARNED: &str = "LEARNED";
/// In which order each workload's questions and addresses came, so that its oldest make room.
pub const SLOTS: &str = "SLOTS";
/// How far each workload is in its slots.
pub const LEARNERS: &str = "LEARNERS";
/// Addresses that answers have given workloads for hosts that no rule names: for messages alone.
pub const NAMED: &str = "NAMED";

/// Default number of workloads that fit.
pub const WORKLOADS_CAPACITY: u32 = 16_384;
/// Default number of policies that fit.
pub const POLICIES_CAPACITY: u32 = 4_096;
/// Default number of exact rules that fit.
pub const EXACT_CAPACITY: u32 = 262_144;
/// Default number of prefix rules that fit.
pub const PREFIXES_CAPACITY: u32 = 65_536;
/// Default number of port rules that fit.
pub const PORTS_CAPACITY: u32 = 65_536;
/// Number of enforced roots that fit: each workload can be one.
pub const ROOTS_CAPACITY: u32 = WORKLOADS_CAPACITY;
/// Entries of peers that are remembered, of all sockets together: two for each.
pub const PEERS_CAPACITY: u32 = 131_072;
/// The same of those who were asked. They have a map of their own so that nobody's questions displace others' clients.
pub const ASKED_CAPACITY: u32 = 32_768;
/// Number of shares of events that are counted: one for each kind of call of each workload.
pub const SHARES_CAPACITY: u32 = 4 * WORKLOADS_CAPACITY;
/// Bytes of the events' ring buffer.
pub const EVENTS_BYTES: u32 = 1 << 20;
/// Default number of rules with a host that fit, and of hosts.
pub const HOSTS_CAPACITY: u32 = 65_536;
/// Number of servers whose answers count.
pub const RESOLVERS_CAPACITY: u32 = 4_096;
/// Number of networks whose addresses are not learned.
pub const PROTECTED_CAPACITY: u32 = 131_072;
/// Default number of learned addresses that fit, of all workloads together.
pub const LEARNED_CAPACITY: u32 = 262_144;
/// Number of questions that wait at once, of all workloads together.
pub const QUESTIONS_CAPACITY: u32 = 262_144;
/// Number of questions of one workload that wait at once.
pub const QUESTIONS_SHARE: u32 = 512;
/// Number of names that are kept for messages.
pub const NAMED_CAPACITY: u32 = 16_384;
