//! Whose call it is.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id,
    generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
};
use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{CgroupId, PolicyId, Settings};

use crate::maps;

/// A task's or a packet's workload.
pub(crate) struct Workload {
    /// The workload's cgroup, or its own if it belongs to none.
    pub(crate) cgroup: CgroupId,
    /// None if no ancestor of its cgroup is a workload.
    pub(crate) policy: Option<PolicyId>,
}

/// The workload of the calling task.
#[inline(always)]
pub(crate) fn current() -> Workload {
    // SAFETY: the helper takes any depth and gives 0 where the task's cgroup is not that deep.
    let found = innermost(|depth| unsafe { bpf_get_current_ancestor_cgroup_id(depth) });
    found.unwrap_or_else(|| Workload {
        // SAFETY: the helper has no precondition.
        cgroup: CgroupId(unsafe { bpf_get_current_cgroup_id() }),
        policy: None,
    })
}

/// The workload in which a packet's socket was born.
#[inline(always)]
pub(crate) fn of_packet(ctx: &SkBuffContext) -> Workload {
    let packet = ctx.skb.skb;
    // SAFETY: the packet is valid for the time of the call, and the helper takes any depth, as above.
    let found = innermost(|depth| unsafe { bpf_skb_ancestor_cgroup_id(packet, depth) });
    found.unwrap_or_else(|| Workload {
        // SAFETY: as above.
        cgroup: CgroupId(unsafe { bpf_skb_cgroup_id(packet) }),
        policy: None,
    })
}

/// Whether the calling task is below an enforced root.
#[inline(always)]
pub(crate) fn is_below_root() -> bool {
    for depth in 0..=Settings::DEPTH_LIMIT {
        // SAFETY: the helper takes any depth and gives 0 where the task's cgroup is not that deep.
        let cgroup = CgroupId(unsafe { bpf_get_current_ancestor_cgroup_id(depth as i32) });
        if cgroup.0 == 0 {
            return false;
        }
        if maps::is_root(cgroup) {
            return true;
        }
    }
    false
}

/// Looks upwards from the deepest cgroup that any workload has: the innermost workload wins.
#[inline(always)]
fn innermost(ancestor: impl Fn(i32) -> u64) -> Option<Workload> {
    if let Some(settings) = maps::settings() {
        let mut depth = settings.depth_max;
        for _ in 0..=Settings::DEPTH_LIMIT {
            let cgroup = CgroupId(ancestor(depth as i32));
            if cgroup.0 != 0
                && let Some(policy) = maps::binding(cgroup)
            {
                return Some(Workload {
                    cgroup,
                    policy: Some(policy),
                });
            }
            if depth <= settings.depth_min {
                break;
            }
            depth -= 1;
        }
    }
    None
}
