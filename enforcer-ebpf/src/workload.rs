//! Finds the workload that makes a call.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id,
    generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
};
use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{Address, CgroupId, PolicyId, Settings};

use crate::maps;

/// The workload of a task or a packet.
pub(crate) struct Workload {
    /// The workload's cgroup; the task's or packet's own cgroup if it belongs to no workload.
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

    /// Whether the address is one of its own, as far as they are known.
    #[inline(always)]
    pub(crate) fn owns(&self, address: &Address) -> bool {
        match maps::binding(self.cgroup) {
            Some(binding) => binding.owns(address),
            None => false,
        }
    }
}

/// The workload of the calling task.
#[inline(always)]
pub(crate) fn current() -> Workload {
    // SAFETY: the helper takes any depth and gives 0 where the task's cgroup is not that deep.
    let mut workload = innermost(|depth| unsafe { bpf_get_current_ancestor_cgroup_id(depth) });
    if workload.policy_id.0 == NO_POLICY.0 {
        // SAFETY: the helper has no precondition.
        workload.cgroup = CgroupId(unsafe { bpf_get_current_cgroup_id() });
    }
    workload
}

/// The workload in which a packet's socket was born.
#[inline(always)]
pub(crate) fn of_packet(ctx: &SkBuffContext) -> Workload {
    let packet = ctx.skb.skb;
    // SAFETY: the packet is valid for the time of the call, and the helper takes any depth, as above.
    let mut workload = innermost(|depth| unsafe { bpf_skb_ancestor_cgroup_id(packet, depth) });
    if workload.policy_id.0 == NO_POLICY.0 {
        // SAFETY: as above.
        workload.cgroup = CgroupId(unsafe { bpf_skb_cgroup_id(packet) });
    }
    workload
}

/// The calling task's workload, known or not; None if the task neither belongs to a workload nor is below an
/// enforced root.
#[inline(always)]
pub(crate) fn enforced() -> Option<Workload> {
    let workload = current();
    (workload.policy().is_some() || is_below_root()).then_some(workload)
}

/// Whether the calling task is below an enforced root.
#[inline(always)]
fn is_below_root() -> bool {
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

/// Searches upwards from the greatest depth that any workload has: the innermost workload wins. Returns
/// [`NO_POLICY`], and no cgroup, if there is none.
#[inline(always)]
fn innermost(ancestor: impl Fn(i32) -> u64) -> Workload {
    if let Some(settings) = maps::settings() {
        let mut depth = settings.depth_max;
        for _ in 0..=Settings::DEPTH_LIMIT {
            let cgroup = CgroupId(ancestor(depth as i32));
            if cgroup.0 != 0
                && let Some(binding) = maps::binding(cgroup)
            {
                return Workload {
                    cgroup,
                    policy_id: binding.policy,
                };
            }
            if depth <= settings.depth_min {
                break;
            }
            depth -= 1;
        }
    }
    Workload {
        cgroup: CgroupId(0),
        policy_id: NO_POLICY,
    }
}
