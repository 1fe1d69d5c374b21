//! One module for each kind of hook.

use enforcer_common::{Outcome, Reason, Verdict, refuse};

use crate::{maps, workload::Workload};

pub(crate) mod address;
pub(crate) mod create;
pub(crate) mod guard;
pub(crate) mod lsm;
pub(crate) mod names;
pub(crate) mod option;
mod packet;
pub(crate) mod receive;

/// What a cgroup program returns to let the call proceed.
pub(crate) const PROCEED: i32 = 1;
/// What a cgroup program returns to make the call fail, with EPERM unless another errno is set.
pub(crate) const REJECT: i32 = 0;

/// The outcome of a call that no rule can allow.
#[inline(always)]
pub(crate) fn refusal(workload: &Workload, reason: Reason) -> Outcome {
    let Some(id) = workload.policy() else {
        return refuse(maps::unknown_mode(), reason);
    };
    match maps::policy(id) {
        Some(policy) => refuse(policy.mode, reason),
        None => Outcome {
            verdict: Verdict::Deny,
            reason: Reason::NoPolicy,
        },
    }
}

/// A verdict as a cgroup program returns it.
#[inline(always)]
pub(crate) fn code(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::Allow | Verdict::Audit => PROCEED,
        Verdict::Deny => REJECT,
    }
}
