//! What the caller of `connect` or `sendmsg` has named, and where the kernel sends that.

use core::ptr::read_volatile;

use aya_ebpf::programs::SockAddrContext;
use enforcer_common::{Address, Hook, target};

use crate::sock::Sock;

/// What the caller has named.
pub(super) struct Named {
    pub(super) address: Address,
    /// Network byte order.
    pub(super) port: [u8; 2],
}

impl Named {
    /// The destination to which the kernel sends.
    #[inline(always)]
    pub(super) fn reached(self, ctx: &SockAddrContext, hook: Hook, sock: Option<Sock>) -> Self {
        let Some(sock) = sock else {
            return self;
        };
        // A datagram without a name reaches this hook because of a control message, and goes to the peer that
        // the socket is connected to. A datagram with a name has a port (`udp_sendmsg`, `udpv6_sendmsg`).
        if self.port == [0; 2] {
            match hook {
                Hook::Sendmsg4 => {
                    return Self {
                        address: Address::from_v4(sock.peer4()),
                        port: sock.peer_port(),
                    };
                }
                Hook::Sendmsg6 => {
                    return Self {
                        address: Address::from_words(sock.peer6()),
                        port: sock.peer_port(),
                    };
                }
                _ => {}
            }
        }
        if !self.address.is(&Address::UNSPECIFIED_V4) {
            return self;
        }
        let source = match hook {
            Hook::Sendmsg4 => Address::from_v4(message_source4(ctx)),
            _ => sock.source4(),
        };
        Self {
            address: target(self.address, source),
            port: self.port,
        }
    }
}

/// The address that the caller has named.
#[inline(always)]
pub(super) fn name(ctx: &SockAddrContext, hook: Hook) -> Address {
    let raw = ctx.sock_addr;
    match hook {
        Hook::Connect4 | Hook::Sendmsg4 => {
            // SAFETY: as above; the field holds the address in network byte order.
            let word = unsafe { read_volatile(&raw const (*raw).user_ip4) };
            Address::from_v4(word.to_ne_bytes())
        }
        _ => {
            // SAFETY: as above.
            let words = unsafe {
                [
                    read_volatile(&raw const (*raw).user_ip6[0]),
                    read_volatile(&raw const (*raw).user_ip6[1]),
                    read_volatile(&raw const (*raw).user_ip6[2]),
                    read_volatile(&raw const (*raw).user_ip6[3]),
                ]
            };
            Address::from_words(words)
        }
    }
}

/// The source that a control message gives, in network byte order. For `sendmsg4` only.
#[inline(always)]
pub(super) fn message_source4(ctx: &SockAddrContext) -> [u8; 4] {
    // SAFETY: the kernel gives a valid `bpf_sock_addr` for the time of the call.
    unsafe { read_volatile(&raw const (*ctx.sock_addr).msg_src_ip4) }.to_ne_bytes()
}
