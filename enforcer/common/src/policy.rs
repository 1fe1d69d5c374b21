//! Values of the maps.

use crate::{Address, CgroupId, PolicyId, Scope};

/// The result for a destination that no rule allows. Its values are those of [`Policy::mode`]; zero is none of them,
/// so that a zeroed value in the kernel is never a valid policy.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// REGISTRY_ONLY: refused.
    Enforce = 1,
    /// REGISTRY_ONLY on trial: let through, and reported as refused.
    Audit = 2,
    /// ALLOW_ANY: let through, and reported as unregistered.
    Observe = 3,
    /// Let through without any check.
    Off = 4,
}

/// Value of the policy map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// A [`Mode`]; any other number refuses.
    pub mode: u32,
    /// Rules that are particular to this policy.
    pub own: Scope,
    /// Rules that it shares with others, or [`Scope::NONE`].
    pub shared: Scope,
    /// Bits of `FLAG_*`.
    pub flags: u32,
}

impl Policy {
    /// UDP to any destination is allowed.
    pub const FLAG_ALLOW_UDP: u32 = 1;
}

/// Value of the map of workloads.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The policy that decides; workloads that may reach the same share one.
    pub policy: PolicyId,
    /// Always zero.
    pub pad: u32,
    /// The workload's own addresses, an IPv4 and an IPv6 one, which it reaches on every port. A missing one is
    /// unspecified, which stands for loopback and is never refused.
    pub own: [Address; 2],
}

const _: () = assert!(size_of::<Binding>() == 40);

impl Binding {
    /// To a policy, without addresses.
    pub const fn new(policy: PolicyId) -> Self {
        Self {
            policy,
            pad: 0,
            own: [Address::UNSPECIFIED; 2],
        }
    }

    /// Whether `address` is one of the workload's own.
    #[inline(always)]
    pub const fn owns(&self, address: &Address) -> bool {
        let [v4, v6] = &self.own;
        v4.is(address) || v6.is(address)
    }
}

/// The workload of a cgroup, which may be the cgroup itself or one above it: found once, so that programs need not ask
/// for every cgroup above each time. Counts only as long as [`Settings::epoch`] is the same: whoever writes it has read
/// that before it has searched.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// The cgroup. To be compared before and after the rest is read: the memory may be reused for another entry
    /// meanwhile.
    pub of: CgroupId,
    /// When it was found.
    pub epoch: u64,
    /// The workload's cgroup; the cgroup itself if it belongs to no workload.
    pub workload: CgroupId,
    /// What the workload is bound to; to the policy 0 if there is none.
    pub binding: Binding,
}

const _: () = assert!(size_of::<Nearest>() == 64);

impl Nearest {
    /// The workload's cgroup; 0 if there is none.
    #[inline(always)]
    pub const fn cgroup(&self) -> u64 {
        if self.binding.policy.0 == 0 {
            0
        } else {
            self.workload.0
        }
    }
}

/// Settings for all programs; the only entry of the settings map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The errno that a refused call returns, positive; used if the kernel has `bpf_set_retval`.
    pub errno: u32,
    /// Lowest depth below the cgroup root at which a workload's cgroup can be.
    pub depth_min: u32,
    /// Greatest such depth, at most [`Settings::DEPTH_LIMIT`].
    pub depth_max: u32,
    /// A [`Mode`]: the result for a process that belongs to no known workload.
    pub unknown: u32,
    /// Bits of [`crate::socket`]: kinds of socket that workloads may create beyond TCP and UDP.
    pub sockets: u32,
    /// How many addresses one workload may have learned at once.
    pub learned: u32,
    /// The least time for which a learned address counts, in nanoseconds, whatever its TTL.
    pub floor: u64,
    /// The upper limit of a TTL, in nanoseconds, and for how long an address counts after each use.
    pub ceiling: u64,
    /// How much longer than its TTL an address counts, in nanoseconds.
    pub grace: u64,
    /// A bit for each port of a trusted resolver: the six lowest bits of the port give the bit's number.
    pub resolver_ports: u64,
    /// Another number after each change of what [`Nearest`] remembers.
    pub epoch: u64,
}

const _: () = assert!(size_of::<Settings>() == 64);

impl Settings {
    /// Greatest depth below the cgroup root at which workloads are looked for.
    pub const DEPTH_LIMIT: u32 = 16;

    /// Refuses what is unknown, admits no further kinds of socket, and learns with the defaults of the
    /// configuration.
    pub const STRICT: Self = Self {
        errno: 1,
        depth_min: 1,
        depth_max: 1,
        unknown: Mode::Enforce as u32,
        sockets: 0,
        learned: 1_024,
        floor: 30_000_000_000,
        ceiling: 86_400_000_000_000,
        grace: 60_000_000_000,
        resolver_ports: 0,
        epoch: 0,
    };

    /// The same, with another epoch.
    #[must_use]
    pub const fn another_epoch(self) -> Self {
        Self {
            epoch: self.epoch.wrapping_add(1),
            ..self
        }
    }

    /// The bit of a port in network byte order.
    #[inline(always)]
    pub const fn port_bit(port: [u8; 2]) -> u64 {
        1 << (port[1] & 63)
    }
}
