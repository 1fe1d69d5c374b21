//! What is learned about names: which workload asked for which name, which addresses it was given, and for which
//! hosts.
//!
//! The programs learn facts (this workload was given this address for this host), which allow nothing by themselves:
//! only a rule that names the host does.

use crate::{Address, CgroupId, HostId, maps::SLOTS_ROW};

/// The most hosts that are stored for one address of a workload.
pub const HOSTS: usize = 8;

/// The most bytes of a name on the wire, and one more for the alignment.
pub const NAME: usize = 256;

/// The bytes of a question that are stored: a name, its type and its class.
pub const QUESTION: usize = 264;

/// A server whose answers count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolverKey {
    /// Its address.
    pub address: Address,
    /// Its port in network byte order.
    pub port: [u8; 2],
    /// Always zero.
    pub pad: [u8; 6],
}

/// A name in reverse: its labels, lower case, without the root, all bytes in reverse order.
/// [`PatternKey::SEPARATOR`] follows each label, and a zero follows a name that is no wildcard. A wildcard's key is
/// a prefix of the keys of all names that match it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternKey(pub [u8; NAME]);

impl PatternKey {
    /// Ends a label. Not the label's length, which may equal the number of a character; a name with a dot within a
    /// label is not learned.
    pub const SEPARATOR: u8 = b'.';
}

/// A host that some rule names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The host.
    pub host: HostId,
    /// Bytes of its key.
    pub length: u32,
    /// Not 0 if it is a wildcard: it matches only names that are longer by at least one character.
    pub wildcard: u32,
}

/// A question of a socket that waits for its answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuestionKey {
    /// The workload.
    pub owner: CgroupId,
    /// The socket's cookie.
    pub cookie: u64,
    /// The question's number in network byte order, and 0.
    pub id: [u8; 8],
}

/// What was asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// When it was asked, in nanoseconds since boot (`bpf_ktime_get_ns`).
    pub time: u64,
    /// The number of bytes of `bytes` in use.
    pub length: u32,
    /// Its slot.
    pub slot: u32,
    /// 1 if it left by the loopback device, else 0: its answer has to arrive the same way.
    pub local: u32,
    /// Always zero.
    pub pad: u32,
    /// The bytes behind the header of the message: its question first.
    pub bytes: [u8; QUESTION],
}

impl Question {
    /// For how long an answer counts, in nanoseconds.
    pub const LIFETIME: u64 = 10 * 1_000_000_000;
}

/// An address that a workload was given.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LearnedKey {
    /// The workload.
    pub owner: CgroupId,
    /// The address.
    pub address: Address,
}

/// The hosts for which the address counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The entry's own key: its memory may be reused for another entry while a program reads it.
    pub key: LearnedKey,
    /// When it was learned last, in nanoseconds since boot.
    pub time: u64,
    /// Its slot.
    pub slot: u32,
    /// Bytes of `name`.
    pub length: u32,
    /// The hosts that rules may name; unused places are [`HostId::NONE`].
    pub hosts: [LearnedHost; HOSTS],
    /// The name that was asked for last, in wire format, lower case, with the root.
    pub name: [u8; NAME],
}

/// One host of a learned address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedHost {
    /// The host.
    pub host: HostId,
    /// When it expires, in nanoseconds since boot.
    pub expires: u64,
}

/// Slots of a workload that follow one another, in the order of learning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotsKey {
    /// The workload.
    pub owner: CgroupId,
    /// The number of the first slot, divided by [`Slots::LENGTH`].
    pub row: u32,
    /// [`SlotsKey::ADDRESS`] or [`SlotsKey::QUESTION`].
    pub kind: u32,
}

impl SlotsKey {
    /// Addresses.
    pub const ADDRESS: u32 = 0;
    /// Sockets' cookies and questions' numbers.
    pub const QUESTION: u32 = 1;
}

/// What occupies them. The next slot is in the line of memory that the last one was in, and most need no new entry.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots(pub [Slot; Self::LENGTH as usize]);

impl Slots {
    /// How many lie together.
    pub const LENGTH: u32 = SLOTS_ROW;

    /// Whose occupants nobody has written.
    pub const UNUSED: Self = Self([Slot([0; 2]); Self::LENGTH as usize]);
}

/// What occupies a slot: the halves of an address ([`Address::halves`]), or a socket's cookie and its question's number
/// as [`QuestionKey`] has them. Zeros if nothing ever has.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub [u64; 2]);

/// The counters of a workload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learner {
    /// Slots for addresses that were ever assigned.
    pub addresses: u64,
    /// Slots for questions that were ever assigned.
    pub questions: u64,
    /// Addresses that were replaced before they had expired.
    pub displaced: u64,
}

/// The name for which an address was given.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// When it was given, in nanoseconds since boot.
    pub time: u64,
    /// Bytes of `name`.
    pub length: u32,
    /// Always zero.
    pub pad: u32,
    /// In wire format, lower case, with the root.
    pub name: [u8; NAME],
}

const _: () = assert!(
    size_of::<ResolverKey>() == 24
        && size_of::<Pattern>() == 24
        && size_of::<QuestionKey>() == 24
        && size_of::<Question>() == 24 + QUESTION
        && size_of::<LearnedKey>() == 24
        && size_of::<Learned>() == 40 + 24 * HOSTS + NAME
        && size_of::<SlotsKey>() == 16
        && size_of::<Slots>() == 1024
        && size_of::<Named>() == 16 + NAME
);
