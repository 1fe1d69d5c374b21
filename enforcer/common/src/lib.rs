//! What the kernel programs and the daemon must agree on.
//!
//! `address, key <- policy <- decide -> event`; `socket` and `packet` define what is refused before `decide`,
//! `state` what is stored between calls, and `maps` the kernel map for each of them.
//!
//! **Architecture Invariant:** this crate is `no_std`, has no dependency in the kernel build, and is the only
//! place where a verdict is made: the programs and the tests on the host call the same [`decide`].
//!
//! Every type that crosses the boundary is `repr(C)`, has no implicit padding, and keeps addresses and ports in
//! network byte order; all else is in the machine's byte order.

#![no_std]

mod address;
mod decide;
pub mod dns;
mod event;
mod key;
pub mod learned;
pub mod maps;
pub mod packet;
#[cfg(feature = "user")]
mod pod;
mod policy;
mod seen;
pub mod socket;
mod state;
mod verdicts;

pub use address::Address;
pub use decide::{
    Flow, LOOPBACK_DEVICE, Outcome, Reason, Rules, Verdict, by_address, decide, is_bound_elsewhere,
    is_loopback, refuse, target,
};
pub use event::{COMM_LENGTH, Counter, Event, Hook};
pub use key::{CgroupId, HostId, HostKey, Kinds, PolicyId, PortKey, RuleKey, Scope, Transport};
pub use learned::{
    Learned, LearnedHost, LearnedKey, Learner, Named, Pattern, PatternKey, Question, QuestionKey,
    ResolverKey, Slot, Slots, SlotsKey,
};
pub use policy::{Binding, Mode, Nearest, Policy, Settings};
pub use seen::{SeenKey, Sight, Tally};
pub use state::{Heard, PeerKey, Share, ShareKey, SocketState, Stand, Talk};
pub use verdicts::Verdicts;
