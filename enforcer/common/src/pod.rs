//! Lets aya copy the shared types to and from the kernel.

use crate::{
    Address, Binding, CgroupId, HostKey, Kinds, Learned, LearnedKey, Learner, Named, Nearest, Pattern,
    PatternKey, Policy, PolicyId, PortKey, Question, QuestionKey, ResolverKey, RuleKey, SeenKey, Settings,
    Share, ShareKey, Slots, SlotsKey, Tally, Verdicts,
};

macro_rules! pod {
    ($($type:ty),*) => {
        $(
            // SAFETY: the type is `repr(C)` or `repr(transparent)` over integers and byte arrays, has no
            // padding, and every bit pattern is a value of it.
            #[expect(unsafe_code, reason = "one of the places that may: see CONTRIBUTING.md")]
            unsafe impl aya::Pod for $type {}
        )*
    };
}

pod!(
    Address,
    Binding,
    CgroupId,
    HostKey,
    Kinds,
    Learned,
    LearnedKey,
    Learner,
    Named,
    Nearest,
    Pattern,
    PatternKey,
    Policy,
    PolicyId,
    PortKey,
    Question,
    QuestionKey,
    ResolverKey,
    RuleKey,
    SeenKey,
    Settings,
    Share,
    ShareKey,
    Slots,
    SlotsKey,
    Tally,
    Verdicts
);
