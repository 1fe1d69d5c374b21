//! Whose call it is.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, generated::bpf_get_current_ancestor_cgroup_id};
use enforcer_common::{CgroupId, PolicyId, Settings};

use crate::maps;

/// The calling task's workload.
pub(crate) struct Workload {
    /// The workload's cgroup, or the task's own if it belongs to none.
    pub(crate) cgroup: CgroupId,
    /// [`NO_POLICY`] if no ancestor of the task's cgroup is a workload. A number and not an `Option`, whose payload
    /// would be an unwritten part of the stack: the compiler may read that before it looks at the tag, and verifiers
    /// refuse to (5.10).
    pub(crate) policy_id: PolicyId,
}

/// No policy's identifier.
const NO_POLICY: PolicyId = PolicyId(0);

impl Workload {
    /// The policy that it is bound to, if it is known.
    #[inline(always)]
    pub(crate) fn policy(&self) -> Option<PolicyId> {
        (self.policy_id.0 != NO_POLICY.0).then_some(self.policy_id)
    }
}

/// Looks upwards from the deepest cgroup that any workload has: the innermost workload wins.
#[inline(always)]
pub(crate) fn current() -> Workload {
    if let Some(settings) = maps::settings() {
        let mut depth = settings.depth_max;
        for _ in 0..=Settings::DEPTH_LIMIT {
            // SAFETY: the helper takes any depth and gives 0 where the task's cgroup is not that deep.
            let cgroup = CgroupId(unsafe { bpf_get_current_ancestor_cgroup_id(depth as i32) });
            if cgroup.0 != 0
                && let Some(policy_id) = maps::binding(cgroup)
            {
                return Workload { cgroup, policy_id };
            }
            if depth <= settings.depth_min {
                break;
            }
            depth -= 1;
        }
    }
    // SAFETY: the helper has no precondition.
    Workload {
        cgroup: CgroupId(unsafe { bpf_get_current_cgroup_id() }),
        policy_id: NO_POLICY,
    }
}
