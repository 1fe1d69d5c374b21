//! Which packets of an enforced workload's sockets may leave: those of the transports that rules speak of, without
//! headers that lead them elsewhere, and what IPv6 itself needs on its link.

use crate::{Reason, socket};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;
const HOP_BY_HOP: u8 = 0;

/// The part of an IPv4 header that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4 {
    /// Version and header length; 0x45 has no options.
    pub first: u8,
    /// The protocol.
    pub protocol: u8,
    /// Network byte order.
    pub destination: [u8; 4],
}

/// The part of an IPv6 header that matters, and of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    /// The protocol, or the first extension header.
    pub next: u8,
    /// How far it goes.
    pub hop_limit: u8,
    /// Network byte order.
    pub destination: [u8; 16],
    /// The first byte behind the header: ICMPv6's type, or what follows the first extension header.
    pub behind: u8,
}

impl V4 {
    /// Whether nothing more has to be asked: TCP or UDP without options.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.first == 0x45 && matches!(self.protocol, TCP | UDP)
    }

    /// Why it may not leave; None if it may. `sockets` are the opt-ins.
    #[inline(always)]
    pub const fn refusal(&self, sockets: u32) -> Option<Reason> {
        if self.is_plain() || sockets & socket::RAW != 0 {
            None
        } else if self.first != 0x45 {
            Some(Reason::Headers)
        } else if self.destination[0] == 127 || is_opted_in(sockets, self.protocol) {
            None
        } else {
            Some(Reason::Protocol)
        }
    }
}

impl V6 {
    /// Whether nothing more has to be asked: TCP or UDP without extension headers, or neighbour discovery
    /// (RFC 4861: router solicitation to redirect), which the kernel sends by sockets
    /// that belong to the cgroup in which the network namespace was made.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        matches!(self.next, TCP | UDP)
            || (self.next == ICMPV6 && self.hop_limit == 255 && matches!(self.behind, 133..=137))
    }

    /// Why it may not leave; None if it may. `sockets` are the opt-ins.
    #[inline(always)]
    pub const fn refusal(&self, sockets: u32) -> Option<Reason> {
        if self.is_plain() || sockets & socket::RAW != 0 || self.is_multicast_report() {
            return None;
        }
        let known = matches!(self.next, ICMPV6 | SCTP | UDPLITE);
        if !known && is_extension(self.next) {
            Some(Reason::Headers)
        } else if is_loopback(&self.destination) || is_opted_in(sockets, self.next) {
            None
        } else {
            Some(Reason::Protocol)
        }
    }

    /// RFC 3810: the kernel's own, with the router alert option, to the link and no further.
    const fn is_multicast_report(&self) -> bool {
        self.next == HOP_BY_HOP
            && self.behind == ICMPV6
            && self.hop_limit == 1
            && self.destination[0] == 0xff
            && self.destination[1] == 0x02
    }
}

const fn is_opted_in(sockets: u32, protocol: u8) -> bool {
    let bit = match protocol {
        ICMP | ICMPV6 => socket::ICMP,
        SCTP => socket::SCTP,
        UDPLITE => socket::UDPLITE,
        _ => 0,
    };
    sockets & bit != 0
}

/// RFC 7045's list of extension headers.
const fn is_extension(next: u8) -> bool {
    matches!(next, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140 | 253 | 254)
}

const fn is_loopback(address: &[u8; 16]) -> bool {
    matches!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn ipv4_leaves_only_as_tcp_or_udp_without_options() {
        for first in 0x45..=0x4f {
            for protocol in 0..=255 {
                let packet = V4 {
                    first,
                    protocol,
                    destination: [192, 0, 2, 1],
                };
                let plain = first == 0x45 && matches!(protocol, 6 | 17);
                assert_eq!(packet.refusal(0).is_none(), plain, "{packet:?}");
                assert_eq!(packet.refusal(socket::RAW), None);
            }
        }
    }

    #[test]
    fn ipv6_leaves_only_as_tcp_or_udp_without_extension_headers() {
        for next in 0..=255 {
            for behind in 0..=255 {
                let packet = V6 {
                    next,
                    hop_limit: 64,
                    destination: FAR,
                    behind,
                };
                assert_eq!(packet.refusal(0).is_none(), matches!(next, 6 | 17), "{packet:?}");
            }
        }
    }

    #[test]
    fn neighbour_discovery_and_multicast_reports_leave() {
        let discovery = V6 {
            next: 58,
            hop_limit: 255,
            destination: FAR,
            behind: 135,
        };
        assert!(discovery.is_plain());
        assert!(
            !V6 {
                behind: 128,
                ..discovery
            }
            .is_plain(),
            "an echo request"
        );
        let mut link = [0; 16];
        (link[0], link[1], link[15]) = (0xff, 2, 0x16);
        let report = V6 {
            next: 0,
            hop_limit: 1,
            destination: link,
            behind: 58,
        };
        assert_eq!(report.refusal(0), None);
        assert_eq!(
            V6 {
                destination: FAR,
                ..report
            }
            .refusal(0),
            Some(Reason::Headers)
        );
    }

    #[test]
    fn opt_in_lets_its_protocol_out_but_no_options() {
        let ping = V4 {
            first: 0x45,
            protocol: 1,
            destination: [192, 0, 2, 1],
        };
        assert_eq!(ping.refusal(socket::ICMP), None);
        assert_eq!(ping.refusal(socket::SCTP), Some(Reason::Protocol));
        assert_eq!(
            V4 { first: 0x46, ..ping }.refusal(socket::ICMP),
            Some(Reason::Headers)
        );
    }
}
