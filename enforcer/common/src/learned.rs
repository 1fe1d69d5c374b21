//! What is learned of names: who asked what, which addresses a workload was given, and for which hosts.
//!
//! Learning is of facts (this workload was given this address for this host), and allows nothing by itself: a rule that
//! names the host does.

use crate::{Address, CgroupId, HostId};

/// Most hosts that one address is remembered for, by workload.
pub const HOSTS: usize = 8;

/// Bytes of a name as it is sent, at most, with one to spare for the alignment.
pub const NAME: usize = 256;

/// Bytes of a question that are kept: a name, its type and its class.
pub const QUESTION: usize = 264;

/// A server whose answers count.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResolverKey {
    /// Where it is.
    pub address: Address,
    /// Its port in network byte order.
    pub port: [u8; 2],
    /// Always zero.
    pub pad: [u8; 2],
}

/// A name read from the end: its labels, lower case, without the root, all bytes in reverse order, behind each label
/// [`PatternKey::SEPARATOR`], and a zero behind a name that is no wildcard. A wildcard's key is the beginning of those of
/// the names that it stands for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PatternKey(pub [u8; NAME]);

impl PatternKey {
    /// Ends a label. Not the label's length, which may be the number of a character; a name with a dot within a label
    /// teaches nothing.
    pub const SEPARATOR: u8 = b'.';
}

/// A host that some rule names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Which.
    pub host: HostId,
    /// Bytes of its key.
    pub length: u32,
    /// Not 0 if it is a wildcard: it stands for names that are longer by a character at least.
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
    /// The question's number as it is sent, and 0.
    pub id: [u8; 8],
}

/// What was asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// When, in nanoseconds since boot (`bpf_ktime_get_ns`).
    pub time: u64,
    /// How many bytes of `bytes` are the message's.
    pub length: u32,
    /// The slot that it has.
    pub slot: u32,
    /// Whether it left by the loopback device, 1 or 0: so does its answer arrive.
    pub local: u32,
    /// Always zero.
    pub pad: u32,
    /// What follows the header of the message: its question first.
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

/// For which hosts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The entry's own key: its memory may become another entry's while a program looks at it.
    pub key: LearnedKey,
    /// When it was learned last, in nanoseconds since boot.
    pub time: u64,
    /// The slot that it has.
    pub slot: u32,
    /// Bytes of `name`.
    pub length: u32,
    /// The hosts that rules may name; those that are not there are [`HostId::NONE`].
    pub hosts: [LearnedHost; HOSTS],
    /// The name that was asked last, as it is sent, lower case, with the root.
    pub name: [u8; NAME],
}

/// One host of a learned address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedHost {
    /// Which.
    pub host: HostId,
    /// Until when it counts, in nanoseconds since boot.
    pub expires: u64,
}

/// A place in a workload's order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotKey {
    /// The workload.
    pub owner: CgroupId,
    /// Which place.
    pub index: u32,
    /// [`SlotKey::ADDRESS`] or [`SlotKey::QUESTION`].
    pub kind: u32,
}

impl SlotKey {
    /// Its value is an address.
    pub const ADDRESS: u32 = 0;
    /// Its value is the socket's cookie and the question's number.
    pub const QUESTION: u32 = 1;
}

/// Who has a place: an address, or the rest of a [`QuestionKey`].
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub [u8; 16]);

/// How far a workload is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learner {
    /// Places of addresses that were given out, ever.
    pub addresses: u64,
    /// Places of questions that were given out, ever.
    pub questions: u64,
    /// Addresses that made room before they had expired.
    pub displaced: u64,
}

/// The name by which an address was given.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// When, in nanoseconds since boot.
    pub time: u64,
    /// Bytes of `name`.
    pub length: u32,
    /// Always zero.
    pub pad: u32,
    /// As it is sent, lower case, with the root.
    pub name: [u8; NAME],
}

const _: () = assert!(
    size_of::<ResolverKey>() == 20
        && size_of::<Pattern>() == 24
        && size_of::<QuestionKey>() == 24
        && size_of::<Question>() == 24 + QUESTION
        && size_of::<LearnedKey>() == 24
        && size_of::<Learned>() == 40 + 24 * HOSTS + NAME
        && size_of::<SlotKey>() == 16
        && size_of::<Named>() == 16 + NAME
);
