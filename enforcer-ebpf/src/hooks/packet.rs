//! How the packet programs read a packet.

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_socket_cookie, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use enforcer_common::{CgroupId, Stand};

use crate::{layout, sock::Sock};

/// The device by which the packet leaves or has arrived.
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

/// The cgroup, network namespace and port of the packet's socket.
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

/// The first words of the packet, which begins with its IP header, four bytes each, in network byte order. Words need
/// fewer loads than bytes, and so less stack.
#[inline(always)]
pub(super) fn words<const N: usize>(ctx: &SkBuffContext) -> Option<[u32; N]> {
    let raw = ctx.skb.skb;
    // SAFETY: as above; the verifier takes the two fields for the bounds of what may be read. Volatile, so that what is
    // compared is what is read from.
    let (start, end) = unsafe {
        (
            read_volatile(&raw const (*raw).data) as usize,
            read_volatile(&raw const (*raw).data_end) as usize,
        )
    };
    if start + N * 4 > end {
        return None;
    }
    let mut words = [0; N];
    for (index, word) in words.iter_mut().enumerate() {
        // SAFETY: the word lies within the bounds; programs may read it wherever it begins.
        *word = unsafe { read_volatile((start + index * 4) as *const u32) };
    }
    Some(words)
}

/// Two bytes of the packet, such as a port.
#[inline(always)]
pub(super) fn pair(ctx: &SkBuffContext, at: u32) -> Option<[u8; 2]> {
    let mut bytes = [0; 2];
    // SAFETY: the helper checks the place itself, and writes the two bytes.
    let result = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, bytes.as_mut_ptr().cast(), 2) };
    (result == 0).then_some(bytes)
}

/// Some bytes of the packet, in its linear part or not.
#[inline(always)]
pub(super) fn bytes<const N: usize>(ctx: &SkBuffContext, at: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: as above.
    let result = unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at, bytes.as_mut_ptr().cast(), N as u32) };
    (result == 0).then_some(bytes)
}

/// Marks that there is no such sequence number.
pub(super) const NOT_FIRST: u64 = u64::MAX;

/// The sequence number of the first byte that the packet's socket will receive; [`NOT_FIRST`] if it has
/// received some, or is not a TCP socket.
#[inline(always)]
pub(super) fn first_expected(ctx: &SkBuffContext) -> u64 {
    match sock(ctx) {
        Some(sock) => sock.first_expected(),
        None => NOT_FIRST,
    }
}

/// Bytes of the packet, its headers included.
#[inline(always)]
pub(super) fn length(ctx: &SkBuffContext) -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const (*ctx.skb.skb).len) }
}

/// A number from 1 to `most`, in a form that the verifier can follow. The compiler would leave out checks
/// whose result it knows, and verifiers before 6.4 do not use a comparison with 0.
#[inline(always)]
pub(super) fn bounded(number: u32, most: u32) -> u32 {
    let before = opaque(u64::from(number.wrapping_sub(1)));
    let most = u64::from(most - 1);
    let before = opaque(if before > most { most } else { before });
    before as u32 + 1
}

/// The bits of an offset that are within an array of `MASK` + 1 elements, a power of two.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(super) fn masked<const MASK: u64>(at: u32) -> usize {
    let mut at = u64::from(at);
    // SAFETY: the instruction touches the register alone.
    unsafe {
        core::arch::asm!("{at} &= {mask}", at = inout(reg) at, mask = const MASK, options(pure, nomem, nostack))
    };
    at as usize
}

/// The same for builds that only check the programs and never run them.
#[cfg(not(target_arch = "bpf"))]
pub(super) fn masked<const MASK: u64>(at: u32) -> usize {
    (u64::from(at) & MASK) as usize
}

/// The same number, hidden from the compiler's optimizer.
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn opaque(number: u64) -> u64 {
    let mut number = number;
    // A separate instruction: without one, two source lines would share an address, which the kernel does not
    // accept.
    // SAFETY: the instruction touches the register alone.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}

/// The same for builds that only check the programs and never run them.
#[cfg(not(target_arch = "bpf"))]
fn opaque(number: u64) -> u64 {
    number
}
