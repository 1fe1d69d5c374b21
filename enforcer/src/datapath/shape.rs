//! Checks that what is pinned under a map's name is that map.
//!
//! The loader reuses whatever is pinned there, and programs would use it with keys of another size. The version in
//! the folder's name is the first guard; this is the second, against a folder that was tampered with.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::maps::{MapInfo, MapType};
use enforcer_common::{
    Address, Binding, CgroupId, Heard, HostKey, Kinds, Learned, LearnedKey, Learner, Named, Nearest, Pattern,
    PatternKey, PeerKey, Policy, PolicyId, PortKey, Question, QuestionKey, ResolverKey, RuleKey, Scope,
    SeenKey, Settings, Share, ShareKey, Slots, SlotsKey, SocketState, Tally, Verdicts, maps as name,
};

use super::Pins;

/// The kernel's description of a map: its kind, and the bytes of a key and a value.
struct Shape(&'static str, MapType, usize, usize);

/// Bytes of the prefix length before the key of a trie (`struct bpf_lpm_trie_key`).
const PREFIX_LENGTH: usize = size_of::<u32>();

const SHAPES: [Shape; 27] = [
    Shape(
        name::WORKLOADS,
        MapType::Hash,
        size_of::<CgroupId>(),
        size_of::<Binding>(),
    ),
    Shape(
        name::POLICIES,
        MapType::Array,
        size_of::<PolicyId>(),
        size_of::<Policy>(),
    ),
    Shape(
        name::KINDS,
        MapType::Array,
        size_of::<Scope>(),
        size_of::<Kinds>(),
    ),
    Shape(
        name::NEAREST,
        MapType::LruHash,
        size_of::<CgroupId>(),
        size_of::<Nearest>(),
    ),
    Shape(name::EXACT, MapType::Hash, size_of::<RuleKey>(), size_of::<u32>()),
    Shape(
        name::PREFIXES,
        MapType::LpmTrie,
        PREFIX_LENGTH + size_of::<RuleKey>(),
        size_of::<u32>(),
    ),
    Shape(name::PORTS, MapType::Hash, size_of::<PortKey>(), size_of::<u32>()),
    Shape(
        name::ROOTS,
        MapType::Hash,
        size_of::<CgroupId>(),
        size_of::<u32>(),
    ),
    Shape(
        name::SETTINGS,
        MapType::Array,
        size_of::<u32>(),
        size_of::<Settings>(),
    ),
    Shape(
        name::COUNTERS,
        MapType::PerCpuArray,
        size_of::<u32>(),
        size_of::<u64>(),
    ),
    Shape(name::EVENTS, MapType::RingBuf, 0, 0),
    Shape(name::READER, MapType::Array, size_of::<u32>(), size_of::<u32>()),
    Shape(
        name::SOCKETS,
        MapType::SkStorage,
        size_of::<i32>(),
        size_of::<SocketState>(),
    ),
    Shape(
        name::PEERS,
        MapType::LruHash,
        size_of::<PeerKey>(),
        size_of::<Heard>(),
    ),
    Shape(
        name::ASKED,
        MapType::LruHash,
        size_of::<PeerKey>(),
        size_of::<Heard>(),
    ),
    Shape(
        name::SHARES,
        MapType::LruHash,
        size_of::<ShareKey>(),
        size_of::<Share>(),
    ),
    Shape(name::HOSTS, MapType::Hash, size_of::<HostKey>(), size_of::<u32>()),
    Shape(
        name::PATTERNS,
        MapType::LpmTrie,
        PREFIX_LENGTH + size_of::<PatternKey>(),
        size_of::<Pattern>(),
    ),
    Shape(
        name::RESOLVERS,
        MapType::Hash,
        size_of::<ResolverKey>(),
        size_of::<u32>(),
    ),
    Shape(
        name::PROTECTED,
        MapType::LpmTrie,
        PREFIX_LENGTH + size_of::<Address>(),
        size_of::<u32>(),
    ),
    Shape(
        name::QUESTIONS,
        MapType::Hash,
        size_of::<QuestionKey>(),
        size_of::<Question>(),
    ),
    Shape(
        name::LEARNED,
        MapType::Hash,
        size_of::<LearnedKey>(),
        size_of::<Learned>(),
    ),
    Shape(
        name::SLOTS,
        MapType::Hash,
        size_of::<SlotsKey>(),
        size_of::<Slots>(),
    ),
    Shape(
        name::LEARNERS,
        MapType::Hash,
        size_of::<CgroupId>(),
        size_of::<Learner>(),
    ),
    Shape(
        name::NAMED,
        MapType::LruHash,
        size_of::<LearnedKey>(),
        size_of::<Named>(),
    ),
    Shape(
        name::SEEN,
        MapType::Hash,
        size_of::<SeenKey>(),
        size_of::<Tally>(),
    ),
    Shape(
        name::VERDICTS,
        MapType::PerCpuHash,
        size_of::<CgroupId>(),
        size_of::<Verdicts>(),
    ),
];

/// Checks every map that is pinned already.
///
/// # Errors
/// Names the first one that does not match its name.
pub(super) fn check(pins: &Pins) -> Result<()> {
    SHAPES
        .iter()
        .try_for_each(|shape| shape.check(&pins.map(shape.0)))
}

/// Checks that what is pinned there, if anything, is the map `name`.
///
/// # Errors
/// If it is another map.
pub(super) fn check_one(name: &str, path: &Path) -> Result<()> {
    let mut shapes = SHAPES.iter().filter(|shape| shape.0 == name);
    shapes.try_for_each(|shape| shape.check(path))
}

impl Shape {
    fn check(&self, path: &Path) -> Result<()> {
        let Self(_, kind, key, value) = *self;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.with_context(|| format!("looking at {}", path.display()))?,
        };
        let is_such = MapInfo::from_pin(path).is_ok_and(|info| {
            info.map_type().is_ok_and(|its| its == kind)
                && usize::try_from(info.key_size()).is_ok_and(|its| its == key)
                && usize::try_from(info.value_size()).is_ok_and(|its| its == value)
        });
        if !is_such {
            bail!(
                "{} is not a map of this enforcer: it has another layout; `enforcer detach` removes it",
                path.display()
            );
        }
        Ok(())
    }
}
