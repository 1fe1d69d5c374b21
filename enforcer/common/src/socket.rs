//! Which kinds of socket an enforced workload may create.
//!
//! Rules cover TCP and UDP. A socket of any other kind bypasses them: it never passes `connect`, or its data does
//! not go to the address it was connected to. A kind that has an opt-in here is unrestricted once it is opted in.

use crate::Transport;

/// Raw IP sockets, which write packets of any protocol, header included.
pub const RAW: u32 = 1;
/// ICMP datagram sockets, which `ping` without privileges uses.
pub const ICMP: u32 = 1 << 1;
/// SCTP.
pub const SCTP: u32 = 1 << 2;
/// UDP-Lite.
pub const UDPLITE: u32 = 1 << 3;
/// Packet and XDP sockets, which write frames.
pub const PACKET: u32 = 1 << 4;

/// `AF_INET`.
pub const AF_INET: u32 = 2;
/// `AF_INET6`.
pub const AF_INET6: u32 = 10;
/// `SOCK_STREAM`.
pub const STREAM: u32 = 1;
/// `SOCK_DGRAM`.
pub const DATAGRAM: u32 = 2;
/// `SOCK_RAW`.
pub const RAW_TYPE: u32 = 3;

const AF_UNSPEC: u32 = 0;
const AF_UNIX: u32 = 1;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;
const AF_ALG: u32 = 38;
const AF_XDP: u32 = 44;
/// The IP protocol numbers, as `socket()` takes them.
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;
const IPPROTO_SCTP: u32 = 132;
const IPPROTO_UDPLITE: u32 = 136;
const IPPROTO_MPTCP: u32 = 262;

/// The transport of a socket of this type and protocol, if rules can cover it. MPTCP is TCP.
#[inline(always)]
pub const fn transport(kind: u32, protocol: u32) -> Option<Transport> {
    match (kind, protocol) {
        (STREAM, IPPROTO_TCP | IPPROTO_MPTCP) => Some(Transport::Tcp),
        (DATAGRAM, IPPROTO_UDP) => Some(Transport::Udp),
        _ => None,
    }
}

/// Whether an IPv4 or IPv6 socket of this type and protocol may be created; `sockets` are the opt-ins. The protocol
/// is the one that the kernel has chosen if the caller gave 0.
#[inline(always)]
pub const fn admits(sockets: u32, kind: u32, protocol: u32) -> bool {
    match (kind, protocol) {
        _ if transport(kind, protocol).is_some() => true,
        (RAW_TYPE, _) => sockets & RAW != 0,
        (DATAGRAM, IPPROTO_ICMP | IPPROTO_ICMPV6) => sockets & ICMP != 0,
        (_, IPPROTO_SCTP) => sockets & SCTP != 0,
        (_, IPPROTO_UDPLITE) => sockets & UDPLITE != 0,
        _ => false,
    }
}

/// Whether a socket of this family may be created. [`admits`] decides on IPv4 and IPv6; of the other families only
/// those are allowed that reach nothing beyond this machine.
#[inline(always)]
pub const fn admits_family(sockets: u32, family: u32) -> bool {
    match family {
        AF_UNSPEC | AF_UNIX | AF_INET | AF_INET6 | AF_NETLINK | AF_ALG => true,
        AF_PACKET | AF_XDP => sockets & PACKET != 0,
        _ => false,
    }
}

const SOL_IP: u32 = 0;
const IP_OPTIONS: u32 = 4;
const IP_FREEBIND: u32 = 15;
const IP_XFRM_POLICY: u32 = 17;
const IP_TRANSPARENT: u32 = 19;
const IP_RETOPTS: u32 = 7;
const SOL_IPV6: u32 = 41;
const IPV6_2292HOPOPTS: u32 = 3;
const IPV6_2292DSTOPTS: u32 = 4;
const IPV6_2292RTHDR: u32 = 5;
const IPV6_2292PKTOPTIONS: u32 = 6;
const IPV6_XFRM_POLICY: u32 = 35;
const IPV6_HOPOPTS: u32 = 54;
const IPV6_RTHDRDSTOPTS: u32 = 55;
const IPV6_RTHDR: u32 = 57;
const IPV6_DSTOPTS: u32 = 59;
const IPV6_TRANSPARENT: u32 = 75;
const IPV6_FREEBIND: u32 = 78;

/// Whether a socket option redirects what the socket sends, lets it send with a source address that is not the
/// machine's, or adds headers that the guard drops. The latter are refused at once because a TCP connection would
/// otherwise hang until its timeout. Removing an option, which has no value, is not refused.
#[inline(always)]
pub const fn reroutes(level: u32, option: u32, length: u32) -> bool {
    length > 0
        && matches!(
            (level, option),
            (SOL_IP, IP_OPTIONS | IP_XFRM_POLICY | IP_TRANSPARENT)
                | (
                    SOL_IPV6,
                    IPV6_2292PKTOPTIONS
                        | IPV6_XFRM_POLICY
                        | IPV6_HOPOPTS
                        | IPV6_RTHDRDSTOPTS
                        | IPV6_RTHDR
                        | IPV6_DSTOPTS
                        | IPV6_TRANSPARENT
                )
        )
}

/// The same for a control message, which sets the option for the data that is sent with it.
#[inline(always)]
pub const fn message_reroutes(level: u32, kind: u32) -> bool {
    matches!(
        (level, kind),
        (SOL_IP, IP_RETOPTS)
            | (
                SOL_IPV6,
                IPV6_2292HOPOPTS
                    | IPV6_2292DSTOPTS
                    | IPV6_2292RTHDR
                    | IPV6_HOPOPTS
                    | IPV6_RTHDRDSTOPTS
                    | IPV6_RTHDR
                    | IPV6_DSTOPTS
            )
    )
}

/// Whether a socket option lets a socket of this family be bound to an address that is not the machine's, and send
/// from it. IPv6 needs only this option (one flag for both families); IPv4 needs `IP_TRANSPARENT` too.
#[inline(always)]
pub const fn frees_source(family: u32, level: u32, option: u32) -> bool {
    family == AF_INET6 && matches!((level, option), (SOL_IP, IP_FREEBIND) | (SOL_IPV6, IPV6_FREEBIND))
}

/// Whether a socket option lets a socket send from an address that is not the machine's: those of [`frees_source`],
/// and those that [`reroutes`] refuses for this reason. For kernels where the programs for options cannot refuse.
#[inline(always)]
pub const fn forges_source(family: u32, level: u32, option: u32) -> bool {
    frees_source(family, level, option)
        || matches!(
            (level, option),
            (SOL_IP, IP_TRANSPARENT) | (SOL_IPV6, IPV6_TRANSPARENT)
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_and_udp_need_no_opt_in() {
        for protocol in 0..300 {
            for kind in 0..12 {
                let plain = matches!((kind, protocol), (1, 6 | 262) | (2, 17));
                assert_eq!(
                    admits(0, kind, protocol),
                    plain,
                    "type {kind} protocol {protocol}"
                );
            }
        }
    }

    #[test]
    fn opt_in_admits_its_kind_and_no_other() {
        let kinds = [(RAW, 3, 255), (ICMP, 2, 1), (SCTP, 1, 132), (UDPLITE, 2, 136)];
        for (bit, _, _) in kinds {
            for (other, kind, protocol) in kinds {
                assert_eq!(
                    admits(bit, kind, protocol),
                    bit == other,
                    "{bit}: {kind}/{protocol}"
                );
            }
            assert!(!admits_family(bit, AF_PACKET));
        }
        assert!(admits_family(PACKET, AF_PACKET) && admits_family(PACKET, AF_XDP));
    }

    #[test]
    fn raw_icmp_socket_is_a_raw_socket() {
        // With IP_HDRINCL it sends arbitrary packets.
        assert!(!admits(ICMP, 3, 1));
    }

    #[test]
    fn option_without_value_reroutes_nothing() {
        assert!(reroutes(SOL_IP, IP_OPTIONS, 4) && reroutes(SOL_IPV6, IPV6_RTHDR, 24));
        assert!(!reroutes(SOL_IP, IP_OPTIONS, 0));
        assert!(!reroutes(SOL_IP, 1, 4), "IP_TOS");
    }

    #[test]
    fn message_reroutes_by_headers_and_not_by_its_source_or_segments() {
        assert!(message_reroutes(SOL_IP, IP_RETOPTS) && message_reroutes(SOL_IPV6, IPV6_RTHDR));
        // IP_PKTINFO, IPV6_PKTINFO, UDP_SEGMENT.
        for (level, kind) in [(SOL_IP, 8), (SOL_IPV6, 50), (17, 103)] {
            assert!(!message_reroutes(level, kind), "{level} {kind}");
        }
    }

    #[test]
    fn no_option_lets_a_socket_send_in_another_name() {
        assert!(reroutes(SOL_IP, IP_TRANSPARENT, 4) && reroutes(SOL_IPV6, IPV6_TRANSPARENT, 4));
        assert!(
            frees_source(AF_INET6, SOL_IPV6, IPV6_FREEBIND) && frees_source(AF_INET6, SOL_IP, IP_FREEBIND)
        );
        assert!(
            !frees_source(AF_INET, SOL_IP, IP_FREEBIND),
            "it cannot send from such an address"
        );
        assert!(forges_source(AF_INET, SOL_IP, IP_TRANSPARENT));
        assert!(forges_source(AF_INET6, SOL_IP, IP_FREEBIND) && !forges_source(AF_INET, SOL_IP, IP_FREEBIND));
    }
}
