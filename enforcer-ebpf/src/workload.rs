//! Finds the workload that makes a call.

use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id,
};
use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use enforcer_common::{Address, Binding, CgroupId, Nearest, PolicyId, Settings};

use crate::{layout, maps};

/// The workload of a task or a packet.
pub(crate) struct Workload {
    /// The workload's cgroup; the task's or packet's own cgroup if it belongs to no workload.
    pub(crate) cgroup: CgroupId,
    /// [`NO_POLICY`] if no ancestor of the task's cgroup is a workload. A number and not an `Option`, whose payload
    /// would be an unwritten part of the stack: the compiler may read that before it looks at the tag, and verifiers
    /// refuse to (5.10).
    pub(crate) policy_id: PolicyId,
    /// Whether the destination is one of its own addresses, as far as they are known.
    pub(crate) is_own: bool,
}

/// No policy's identifier.
const NO_POLICY: PolicyId = PolicyId(0);

impl Workload {
    /// The policy that it is bound to, if it is known.
    #[inline(always)]
    pub(crate) fn policy(&self) -> Option<PolicyId> {
        (self.policy_id.0 != NO_POLICY.0).then_some(self.policy_id)
    }

    /// The same workload, for a destination that was not known before.
    #[inline(always)]
    pub(crate) fn to(self, address: &Address) -> Self {
        let is_own = match maps::binding(self.cgroup) {
            Some(binding) => binding.owns(address),
            None => false,
        };
        Self { is_own, ..self }
    }
}

/// The workload of the calling task, for a call without a destination.
#[inline(always)]
pub(crate) fn current() -> Workload {
    current_to(&Address::UNSPECIFIED)
}

/// The workload of the calling task, which calls this destination.
#[inline(always)]
pub(crate) fn current_to(address: &Address) -> Workload {
    nearest(layout::cgroup_of_task(), address, search)
}

/// The workload in which a packet's socket was born, and which sends to this destination.
#[inline(always)]
pub(crate) fn of_packet(ctx: &SkBuffContext, address: &Address) -> Workload {
    let packet = ctx.skb.skb;
    // SAFETY: the packet is valid for the time of the call.
    let own = CgroupId(unsafe { bpf_skb_cgroup_id(packet) });
    nearest(own, address, |own, epoch| search_of_packet(packet, own, epoch))
}

/// The workload that a cgroup is or is below: as it is remembered, or else as `search` finds it (0: none). The epoch is
/// read before everything else, and as a whole: what is remembered by it must not be newer than what it was found in.
#[inline(always)]
fn nearest(own: CgroupId, address: &Address, search: impl FnOnce(u64, u64) -> u64) -> Workload {
    let epoch = match maps::settings() {
        // SAFETY: the entry of an array lives as long as the map.
        Some(settings) => unsafe { (&raw const settings.epoch).read_volatile() },
        None => 0,
    };
    if let Some((cgroup, policy_id, is_own)) = maps::nearest(own, epoch, address) {
        return Workload {
            cgroup,
            policy_id,
            is_own,
        };
    }
    let cgroup = CgroupId(search(own.0, epoch));
    match maps::binding(cgroup) {
        Some(binding) => Workload {
            cgroup,
            policy_id: binding.policy,
            is_own: binding.owns(address),
        },
        None => Workload {
            cgroup: own,
            policy_id: NO_POLICY,
            is_own: false,
        },
    }
}

/// Looks for the workload of the calling task, whose cgroup is `own`, and remembers it: its cgroup, or 0. `epoch` was
/// read before, so that what is found holds as long as this number does. A function of its own: most calls find their
/// workload remembered, and need not pay for its stack.
#[inline(never)]
fn search(own: u64, epoch: u64) -> u64 {
    // SAFETY: the helper takes any depth and gives 0 where the task's cgroup is not that deep.
    let found = innermost(own, epoch, |depth| unsafe {
        bpf_get_current_ancestor_cgroup_id(depth)
    });
    // Somebody may have moved the task meanwhile; then what was found is not its former cgroup's.
    if layout::cgroup_of_task_apart() == own {
        maps::remember(&found);
    }
    found.cgroup()
}

/// The same for a packet, whose socket stays in the cgroup in which it was born.
#[inline(never)]
fn search_of_packet(packet: *mut __sk_buff, own: u64, epoch: u64) -> u64 {
    // SAFETY: the packet is valid for the time of the call, and the helper takes any depth.
    let found = innermost(own, epoch, |depth| unsafe {
        bpf_skb_ancestor_cgroup_id(packet, depth)
    });
    maps::remember(&found);
    found.cgroup()
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

/// Searches upwards from the greatest depth that any workload has: the innermost workload wins.
#[inline(always)]
fn innermost(own: u64, epoch: u64, ancestor: impl Fn(i32) -> u64) -> Nearest {
    let mut found = Nearest {
        of: CgroupId(own),
        epoch,
        workload: CgroupId(own),
        binding: Binding::new(NO_POLICY),
    };
    if let Some(settings) = maps::settings() {
        let mut depth = settings.depth_max;
        for _ in 0..=Settings::DEPTH_LIMIT {
            let cgroup = CgroupId(ancestor(depth as i32));
            if cgroup.0 != 0
                && let Some(binding) = maps::binding(cgroup)
            {
                found.workload = cgroup;
                found.binding = *binding;
                break;
            }
            if depth <= settings.depth_min {
                break;
            }
            depth -= 1;
        }
    }
    found
}
