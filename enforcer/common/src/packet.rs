//! Which packets of an enforced workload's sockets may leave by another device than the loopback device: those of
//! the transports that rules cover, without headers that redirect them, and what IPv6 itself needs on its link.

use crate::{Address, Reason, socket};

const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
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
    pub source: [u8; 4],
    /// Network byte order.
    pub destination: [u8; 4],
}

/// The part of an IPv6 header that matters, and of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V6 {
    /// The protocol, or the first extension header.
    pub next: u8,
    /// The hop limit.
    pub hop_limit: u8,
    /// Where it comes from.
    pub source: Address,
    /// Where it goes.
    pub destination: Address,
    /// The first byte behind the header: ICMPv6's type, or what follows the first extension header. Of no interest for TCP
    /// and UDP.
    pub behind: u8,
}

impl V4 {
    /// Whether no further check is needed: TCP or UDP without options, to another address.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        self.first == 0x45 && matches!(self.protocol, TCP | UDP) && !self.goes_nowhere()
    }

    /// Whether a verdict has let it pass because it would stay: it goes to a loopback address, or to where it comes
    /// from, which is what a socket without a destination is connected to.
    #[inline(always)]
    const fn goes_nowhere(&self) -> bool {
        self.destination[0] == 127 || u32::from_ne_bytes(self.source) == u32::from_ne_bytes(self.destination)
    }

    /// Why it may not leave; None if it may. `sockets` are the opt-ins.
    #[inline(always)]
    pub const fn refusal(&self, sockets: u32) -> Option<Reason> {
        if self.is_plain() || sockets & socket::RAW != 0 {
            None
        } else if self.first != 0x45 {
            Some(Reason::Headers)
        } else if self.goes_nowhere() {
            Some(Reason::Device)
        } else if is_opted_in(sockets, self.protocol) {
            None
        } else {
            Some(Reason::Protocol)
        }
    }
}

impl V6 {
    /// Whether no further check is needed: TCP or UDP without extension headers to another address, or neighbour
    /// discovery on the link. The kernel sends the latter from sockets that belong to the cgroup in which the
    /// network namespace was created.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        (matches!(self.next, TCP | UDP) && !self.goes_nowhere()) || (self.is_discovery() && self.is_on_link())
    }

    /// Whether it is neighbour discovery (RFC 4861: router solicitation to redirect). To addresses beyond the link
    /// only the kernel may send it, since a raw socket can put any data into it.
    #[inline(always)]
    pub const fn is_discovery(&self) -> bool {
        self.next == ICMPV6 && self.hop_limit == 255 && matches!(self.behind, 133..=137)
    }

    /// A link-local address, or a multicast group of the link (RFC 4291).
    #[inline(always)]
    const fn is_on_link(&self) -> bool {
        let [first, second, ..] = self.destination.0;
        (first == 0xfe && second & 0xc0 == 0x80) || (first == 0xff && second & 0x0f == 0x02)
    }

    /// As for [`V4`]. An IPv4-mapped address stands for IPv4 at a socket, and for nobody in a packet; a datagram without a
    /// name's family gets there all the same (`udpv6_sendmsg`).
    #[inline(always)]
    const fn goes_nowhere(&self) -> bool {
        is_nowhere(&self.destination) || self.source.is(&self.destination)
    }

    /// Why it may not leave; None if it may. `sockets` are the opt-ins.
    #[inline(always)]
    pub const fn refusal(&self, sockets: u32) -> Option<Reason> {
        if self.is_plain() || sockets & socket::RAW != 0 || self.is_multicast_report() {
            return None;
        }
        let known = matches!(self.next, ICMPV6 | SCTP | UDPLITE | TCP | UDP);
        if !known && is_extension(self.next) {
            Some(Reason::Headers)
        } else if self.goes_nowhere() {
            Some(Reason::Device)
        } else if is_opted_in(sockets, self.next) {
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
            && self.destination.0[0] == 0xff
            && self.destination.0[1] == 0x02
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

/// The loopback address, or an IPv4-mapped one.
#[inline(always)]
const fn is_nowhere(address: &Address) -> bool {
    let whole = u128::from_be_bytes(address.0);
    whole == 1 || whole >> 32 == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Address = Address([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    const FAR: Address = Address([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    #[test]
    fn ipv4_leaves_only_as_tcp_or_udp_without_options() {
        for first in 0x45..=0x4f {
            for protocol in 0..=255 {
                let packet = V4 {
                    first,
                    protocol,
                    source: [192, 0, 2, 9],
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
                    source: HERE,
                    destination: FAR,
                    behind,
                };
                assert_eq!(packet.refusal(0).is_none(), matches!(next, 6 | 17), "{packet:?}");
            }
        }
    }

    /// `fe80::1` and `ff02::16`.
    fn on_link() -> [Address; 2] {
        let (mut unicast, mut group) = ([0; 16], [0; 16]);
        (unicast[0], unicast[1], unicast[15]) = (0xfe, 0x80, 1);
        (group[0], group[1], group[15]) = (0xff, 2, 0x16);
        [Address(unicast), Address(group)]
    }

    #[test]
    fn neighbour_discovery_leaves_to_the_link_alone() {
        for behind in 0..=255 {
            for destination in [FAR].into_iter().chain(on_link()) {
                let packet = V6 {
                    next: 58,
                    hop_limit: 255,
                    source: HERE,
                    destination,
                    behind,
                };
                let is_discovery = matches!(behind, 133..=137);
                assert_eq!(packet.is_discovery(), is_discovery);
                assert_eq!(
                    packet.refusal(0).is_none(),
                    is_discovery && destination != FAR,
                    "{packet:?}"
                );
                assert!(
                    !V6 {
                        hop_limit: 64,
                        ..packet
                    }
                    .is_discovery()
                );
            }
        }
    }

    #[test]
    fn multicast_reports_leave_to_the_link_alone() {
        let report = V6 {
            next: 0,
            hop_limit: 1,
            source: HERE,
            destination: on_link()[1],
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
    fn what_was_to_stay_does_not_leave() {
        let packet = V4 {
            first: 0x45,
            protocol: 17,
            source: [192, 0, 2, 9],
            destination: [127, 1, 2, 3],
        };
        assert_eq!(packet.refusal(0), Some(Reason::Device));
        let to_itself = V4 {
            destination: packet.source,
            ..packet
        };
        assert_eq!(to_itself.refusal(0), Some(Reason::Device));
        let mut loopback = [0; 16];
        loopback[15] = 1;
        let mut mapped = [0; 16];
        (mapped[10], mapped[11], mapped[12]) = (0xff, 0xff, 192);
        for destination in [Address(loopback), HERE, Address(mapped)] {
            let packet = V6 {
                next: 6,
                hop_limit: 64,
                source: HERE,
                destination,
                behind: 0,
            };
            assert_eq!(packet.refusal(0), Some(Reason::Device));
        }
    }

    #[test]
    fn opt_in_lets_its_protocol_out_but_no_options() {
        let ping = V4 {
            first: 0x45,
            protocol: 1,
            source: [192, 0, 2, 9],
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
