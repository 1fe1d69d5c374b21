//! Whose call it is.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, generated::bpf_get_current_ancestor_cgroup_id};
use enforcer_common::{CgroupId, PolicyId, Settings};

use crate::maps;

/// The calling task's workload.
pub(crate) struct Workload {
    /// The workload's cgroup, or the task's own if it belongs to none.
    pub(crate) cgroup: CgroupId,
    /// None if no ancestor of the task's cgroup is a workload.
    pub(crate) policy: Option<PolicyId>,
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
                && let Some(policy) = maps::binding(cgroup)
            {
                return Workload {
                    cgroup,
                    policy: Some(policy),
                };
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
        policy: None,
    }
}
