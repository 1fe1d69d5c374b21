//! Where the running kernel keeps what a program of the security modules has to know of a socket.
//!
//! The kernel's structures differ between versions and configurations. The loader looks every place up in the
//! kernel's own description of its types (BTF) before it loads the programs; it loads none that would have to guess.
//! What cannot be read is 0, which no rule allows.

use aya_ebpf::{Global, helpers::bpf_probe_read_kernel};
use enforcer_common::{Address, CgroupId};

/// `sk_protocol` in `struct sock`.
#[unsafe(no_mangle)]
static AT_PROTOCOL: Global<u32> = Global::new(0);
/// `skc_daddr` in `struct sock`.
#[unsafe(no_mangle)]
static AT_ADDRESS: Global<u32> = Global::new(0);
/// `skc_v6_daddr` in `struct sock`.
#[unsafe(no_mangle)]
static AT_ADDRESS6: Global<u32> = Global::new(0);
/// `skc_dport` in `struct sock`.
#[unsafe(no_mangle)]
static AT_PORT: Global<u32> = Global::new(0);
/// `sk_cgrp_data.cgroup` in `struct sock`.
#[unsafe(no_mangle)]
static AT_CGROUP: Global<u32> = Global::new(0);
/// `kn` in `struct cgroup`.
#[unsafe(no_mangle)]
static AT_NODE: Global<u32> = Global::new(0);
/// `id` in `struct kernfs_node`.
#[unsafe(no_mangle)]
static AT_ID: Global<u32> = Global::new(0);

/// A socket's `struct sock`, as a number: it is only read by the helper that checks every address. 0 is none.
#[derive(Clone, Copy)]
pub(crate) struct SockAddress(pub(crate) u64);

impl SockAddress {
    /// The IP protocol, as `socket()` takes it or has chosen it.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u32 {
        u32::from(read::<u16>(self.0, AT_PROTOCOL.load()).unwrap_or(0))
    }

    /// Whom an IPv4 socket is connected to.
    #[inline(always)]
    pub(crate) fn peer4(self) -> Address {
        Address::from_v4(read(self.0, AT_ADDRESS.load()).unwrap_or([0; 4]))
    }

    /// Whom an IPv6 socket is connected to.
    #[inline(always)]
    pub(crate) fn peer6(self) -> Address {
        Address::from_v6(read(self.0, AT_ADDRESS6.load()).unwrap_or([0; 16]))
    }

    /// The peer's port in network byte order; 0 if there is none.
    #[inline(always)]
    pub(crate) fn peer_port(self) -> [u8; 2] {
        read(self.0, AT_PORT.load()).unwrap_or([0; 2])
    }

    /// The cgroup in which the socket was born.
    #[inline(always)]
    pub(crate) fn birthplace(self) -> CgroupId {
        let cgroup = read::<u64>(self.0, AT_CGROUP.load()).unwrap_or(0);
        let node = read::<u64>(cgroup, AT_NODE.load()).unwrap_or(0);
        CgroupId(read::<u64>(node, AT_ID.load()).unwrap_or(0))
    }
}

#[inline(always)]
fn read<T: Copy>(structure: u64, at: u32) -> Option<T> {
    if structure == 0 {
        return None;
    }
    // SAFETY: the helper checks the address itself, and fails where nothing can be read.
    unsafe { bpf_probe_read_kernel((structure + u64::from(at)) as *const T) }.ok()
}
