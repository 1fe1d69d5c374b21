//! A socket as the kernel exposes it to the programs for calls and packets.

use core::ptr::read_volatile;

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_sk_storage_get, bpf_tcp_sock},
};
use enforcer_common::{Address, SocketState};

use crate::{clock, maps};

/// A socket that is not null. Addresses and ports are those that it is bound and connected to.
#[derive(Clone, Copy)]
pub(crate) struct Sock(*mut bpf_sock);

/// As many of the kernel's ticks as a socket remembers.
#[inline(always)]
fn ticks() -> u32 {
    clock::ticks() as u32
}

impl Sock {
    #[inline(always)]
    pub(crate) fn new(sock: *mut bpf_sock) -> Option<Self> {
        if sock.is_null() { None } else { Some(Self(sock)) }
    }

    /// The device that it is bound to, or 0. Not for the socket of a packet.
    #[inline(always)]
    pub(crate) fn device(self) -> u32 {
        // SAFETY: the kernel gives a valid `bpf_sock` for the time of the call. Volatile, here and below, since the
        // verifier takes only whole aligned words and the compiler would narrow them.
        unsafe { read_volatile(&raw const (*self.0).bound_dev_if) }
    }

    /// Its family.
    #[inline(always)]
    pub(crate) fn family(self) -> u32 {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.0).family) }
    }

    /// The IPv4 address that it is bound to.
    #[inline(always)]
    pub(crate) fn source4(self) -> Address {
        // SAFETY: as above; the field is in network byte order.
        let word = unsafe { read_volatile(&raw const (*self.0).src_ip4) };
        Address::from_v4(word.to_ne_bytes())
    }

    /// The IPv6 address that it is bound to.
    #[inline(always)]
    pub(crate) fn source6(self) -> Address {
        // SAFETY: as above.
        Address::from_words(unsafe {
            [
                read_volatile(&raw const (*self.0).src_ip6[0]),
                read_volatile(&raw const (*self.0).src_ip6[1]),
                read_volatile(&raw const (*self.0).src_ip6[2]),
                read_volatile(&raw const (*self.0).src_ip6[3]),
            ]
        })
    }

    /// The IPv4 address that it is connected to, in network byte order.
    #[inline(always)]
    pub(crate) fn peer4(self) -> [u8; 4] {
        // SAFETY: as above.
        unsafe { read_volatile(&raw const (*self.0).dst_ip4) }.to_ne_bytes()
    }

    /// The IPv6 address that it is connected to, as words in network byte order.
    #[inline(always)]
    pub(crate) fn peer6(self) -> [u32; 4] {
        // SAFETY: as above.
        unsafe {
            [
                read_volatile(&raw const (*self.0).dst_ip6[0]),
                read_volatile(&raw const (*self.0).dst_ip6[1]),
                read_volatile(&raw const (*self.0).dst_ip6[2]),
                read_volatile(&raw const (*self.0).dst_ip6[3]),
            ]
        }
    }

    /// The port that it is connected to in network byte order; 0 if it is not connected.
    #[inline(always)]
    pub(crate) fn peer_port(self) -> [u8; 2] {
        // SAFETY: as above. Kernels before 5.18 support only reads of the whole word, whose rest is zero.
        let word = unsafe { read_volatile((&raw const (*self.0).dst_port).cast::<u32>()) };
        let [first, second, ..] = word.to_ne_bytes();
        [first, second]
    }

    /// Its own port in the machine's byte order; 0 if it has none yet.
    #[inline(always)]
    pub(crate) fn port(self) -> u16 {
        // SAFETY: as above.
        (unsafe { read_volatile(&raw const (*self.0).src_port) }) as u16
    }

    /// The recorded flags of the socket of a packet.
    #[inline(always)]
    pub(crate) fn packet_flags(self) -> u32 {
        // SAFETY: the helper takes any socket of a packet.
        match Self::new(unsafe { bpf_sk_fullsock(self.0) }) {
            Some(full) => full.flags(),
            None => 0,
        }
    }

    /// The sequence number of the first byte that the socket of a packet will receive; all bits set if it has
    /// received some, or is not a TCP socket.
    #[inline(always)]
    pub(crate) fn first_expected(self) -> u64 {
        // SAFETY: the helper takes any socket of a packet.
        let full = unsafe { bpf_sk_fullsock(self.0) };
        if full.is_null() {
            return u64::MAX;
        }
        // SAFETY: the helper takes any full socket.
        let tcp = unsafe { bpf_tcp_sock(full) };
        if tcp.is_null() {
            return u64::MAX;
        }
        // SAFETY: the kernel gives a valid `bpf_tcp_sock`; volatile as above.
        let (received, next) = unsafe {
            (
                read_volatile(&raw const (*tcp).bytes_received),
                read_volatile(&raw const (*tcp).rcv_nxt),
            )
        };
        if received == 0 { u64::from(next) } else { u64::MAX }
    }

    /// Its recorded flags. Not for the socket of a packet.
    #[inline(always)]
    pub(crate) fn flags(self) -> u32 {
        match self.state(0) {
            // SAFETY: the value lives as long as the socket.
            Some(state) => unsafe { read_volatile(&raw const (*state).flags) },
            None => 0,
        }
    }

    /// Records `flag` for it, and returns whether that succeeded: a socket has limited memory for attached
    /// storage (`optmem_max`), which its owner can use up. Not for the socket of a packet.
    #[inline(always)]
    pub(crate) fn mark(self, flag: u32) -> bool {
        let state = self.state(BPF_SK_STORAGE_GET_F_CREATE.into());
        if let Some(state) = state {
            // SAFETY: as above. If two calls set flags at once, one may be lost; the next call sets it again.
            unsafe { (*state).flags |= flag };
        }
        state.is_some()
    }

    /// Records that its `connect()` to this destination was allowed, and returns whether that succeeded, as
    /// [`Self::mark`] does. From now on it counts as its own origin: it may have been accepted, and disconnected.
    #[inline(always)]
    pub(crate) fn mark_outward(self, cookie: u64, address: &Address, port: [u8; 2]) -> bool {
        let state = self.state(BPF_SK_STORAGE_GET_F_CREATE.into());
        if let Some(state) = state {
            // SAFETY: as above. A socket connects once at a time.
            unsafe {
                (*state).origin = cookie as u32;
                (*state).to = address.halves();
                (*state).port = u16::from_ne_bytes(port);
                (*state).flags |= SocketState::OUTWARD;
            }
        }
        state.is_some()
    }

    /// For a datagram that a rule allows: whether it is on record that this peer was asked. A connection to it is no
    /// answer from now on.
    #[inline(always)]
    pub(crate) fn note_question(self, to: &Address, port: [u8; 2], is_connect: bool) -> bool {
        let Some(state) = self.state(0) else {
            return false;
        };
        let [high, low] = to.halves();
        // SAFETY: as above.
        unsafe {
            if is_connect {
                (*state).flags &= !SocketState::ANSWERING;
            }
            let age = ticks().wrapping_sub(read_volatile(&raw const (*state).asked_at));
            let [asked_high, asked_low] = (*state).asked;
            age < SocketState::ASKED_TICKS
                && (*state).asked_port == u16::from_ne_bytes(port)
                && (asked_high ^ high) | (asked_low ^ low) == 0
        }
    }

    /// Records that it was, if there is memory.
    #[inline(always)]
    pub(crate) fn remember_asked(self, to: &Address, port: [u8; 2]) {
        if let Some(state) = self.state(BPF_SK_STORAGE_GET_F_CREATE.into()) {
            // SAFETY: as above. Two calls at once may mix two peers that were both asked; then neither is found.
            unsafe {
                (*state).asked = to.halves();
                (*state).asked_port = u16::from_ne_bytes(port);
                (&raw mut (*state).asked_at).write_volatile(ticks());
            }
        }
    }

    /// Records that `socket()` has created it, if there is memory. Without this, the origin of a socket is
    /// guessed from who listens. Only for the socket of a program at `socket()`.
    #[inline(always)]
    pub(crate) fn note_made(sock: *mut bpf_sock) {
        // SAFETY: the kernel gives a valid socket for the time of the call.
        let cookie = unsafe { bpf_get_socket_cookie(sock.cast()) };
        if let Some(state) = Self(sock).state(BPF_SK_STORAGE_GET_F_CREATE.into()) {
            // SAFETY: the value lives as long as the socket, which no other task has yet.
            unsafe { (*state).origin = cookie as u32 };
        }
    }

    #[inline(always)]
    fn state(self, flags: u64) -> Option<*mut SocketState> {
        // SAFETY: map and socket are valid; a new value is zero if none is given.
        let state =
            unsafe { bpf_sk_storage_get(maps::sockets_map(), self.0.cast(), core::ptr::null_mut(), flags) };
        if state.is_null() { None } else { Some(state.cast()) }
    }
}
