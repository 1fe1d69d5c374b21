//! What the programs at packets read of them.

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_socket_cookie, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use enforcer_common::{CgroupId, Stand};

use crate::{layout, sock::Sock};

/// The device by which the packet leaves, or has arrived.
#[inline(always)]
pub(super) fn device(ctx: &SkBuffContext) -> u32 {
    // SAFETY: the kernel gives a valid `__sk_buff` for the time of the call. Volatile, since the verifier takes only
    // whole aligned words here.
    unsafe { read_volatile(&raw const (*ctx.skb.skb).ifindex) }
}

/// The packet's socket.
#[inline(always)]
pub(super) fn sock(ctx: &SkBuffContext) -> Option<Sock> {
    // SAFETY: as above.
    Sock::new(unsafe { read_volatile((&raw const (*ctx.skb.skb).__bindgen_anon_2.sk).cast()) })
}

/// The cookie of the packet's socket.
#[inline(always)]
pub(super) fn cookie(ctx: &SkBuffContext) -> u64 {
    // SAFETY: the packet is valid for the time of the call.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// Where the packet's socket stands.
#[inline(always)]
pub(super) fn stand(ctx: &SkBuffContext) -> Stand {
    Stand {
        // SAFETY: as above.
        cgroup: CgroupId(unsafe { bpf_skb_cgroup_id(ctx.skb.skb) }),
        network: layout::network_of_packet(ctx),
        port: match sock(ctx) {
            Some(sock) => sock.port(),
            None => 0,
        },
    }
}

/// The first bytes of the packet, which begins with its IP header.
#[inline(always)]
pub(super) fn first<const N: usize>(ctx: &SkBuffContext) -> Option<[u8; N]> {
    let raw = ctx.skb.skb;
    // SAFETY: as above; the verifier takes the two fields for the bounds of what may be read. Volatile, so that what is
    // compared is what is read from.
    let (start, end) = unsafe {
        (
            read_volatile(&raw const (*raw).data) as usize,
            read_volatile(&raw const (*raw).data_end) as usize,
        )
    };
    if start + N > end {
        return None;
    }
    // SAFETY: the bytes lie within the bounds.
    Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
}

/// Two bytes of the packet, such as a port.
#[inline(always)]
pub(super) fn pair(ctx: &SkBuffContext, at: u32) -> Option<[u8; 2]> {
    let mut bytes = [0; 2];
    // SAFETY: the helper checks the place itself, and writes the two bytes.
    let result = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, bytes.as_mut_ptr().cast(), 2) };
    (result == 0).then_some(bytes)
}
