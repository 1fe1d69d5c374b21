//! Whether data that a borrowed socket sends to a loopback address stays on the machine. The guard would see
//! it leave, but runs in the cgroup where the socket was created.

use enforcer_common::{is_bound_elsewhere, socket::AF_INET6};

use super::socket::Seen;
use crate::layout::Control;

/// Bytes of a `struct cmsghdr`.
const HEADER: u64 = 16;
const SOL_IP: u32 = 0;
const IP_PKTINFO: u32 = 8;
const SOL_IPV6: u32 = 41;
const IPV6_PKTINFO: u32 = 50;

/// `struct cmsghdr` with the `struct in_pktinfo` or `struct in6_pktinfo` behind it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Packet4 {
    length: u64,
    level: u32,
    kind: u32,
    device: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Packet6 {
    header: [u64; 2],
    source: [u64; 2],
    device: u32,
}

/// Whether neither the socket nor its one control message names another device.
#[inline(never)]
pub(super) fn stays(seen: &Seen, control: &Control) -> bool {
    let [bound, unicast, unicast6] = seen.sock.devices();
    if is_bound_elsewhere(bound) || is_bound_elsewhere(unicast) {
        return false;
    }
    if u32::from(seen.family) == AF_INET6
        && (is_bound_elsewhere(unicast6) || is_bound_elsewhere(seen.sock.sticky_device6()))
    {
        return false;
    }
    control.length == 0 || names_no_device(control)
}

/// A server that replies gives the source address, and at most the device on which the question arrived. The
/// kernel could interpret anything else differently than this program.
#[inline(never)]
fn names_no_device(control: &Control) -> bool {
    let Some(message) = control.read::<Packet4>() else {
        return false;
    };
    // Another message begins at the next multiple of eight.
    if message.length < HEADER || control.length > ((message.length + 7) & !7) {
        return false;
    }
    match (message.level, message.kind) {
        (SOL_IP, IP_PKTINFO) => !is_bound_elsewhere(message.device),
        (SOL_IPV6, IPV6_PKTINFO) => match control.read::<Packet6>() {
            Some(message) => !is_bound_elsewhere(message.device),
            None => false,
        },
        _ => false,
    }
}
