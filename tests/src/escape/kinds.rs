//! Sockets that are neither TCP nor UDP.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use super::{
    ClosedBy, Escape, escape,
    stage::{INNER4, REFUSED4, REFUSED6, Stage, name},
    sys, tcp, udp,
};

const CREATE: ClosedBy = ClosedBy::Call("sock_create");
pub(super) const IPPROTO_UDPLITE: i32 = 136;

pub(super) static ESCAPES: &[Escape] = &[
    escape("udp-lite sendto", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, IPPROTO_UDPLITE)?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    escape("udp-lite connect and send, ipv6", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, IPPROTO_UDPLITE)?;
        sys::connect(&socket, &stage.refused6())?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape("sctp connect", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
        tcp::attempt(&socket, &stage.refused4())
    }),
    escape("sctp sendto", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP)?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    escape("dccp connect", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP)?;
        tcp::attempt(&socket, &stage.refused4())
    }),
    escape("icmp datagram", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
        sys::sendto(&socket, &echo(stage, 8), 0, Some(&to4()))
    }),
    escape("icmp datagram, ipv6", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6)?;
        sys::sendto(&socket, &echo(stage, 128), 0, Some(&to6()))
    }),
    escape("raw icmp", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        sys::sendto(&socket, &echo(stage, 8), 0, Some(&to4()))
    }),
    escape("raw icmp, connected", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        sys::connect(&socket, &to4())?;
        sys::sendto(&socket, &echo(stage, 8), 0, None)
    }),
    escape("raw udp", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        sys::sendto(&socket, &datagram(stage), 0, Some(&to4()))
    }),
    escape("raw of an unused protocol", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, 253)?;
        sys::sendto(&socket, &stage.token(), 0, Some(&to4()))
    }),
    escape("raw with IP_HDRINCL", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
        sys::sendto(&socket, &packet(stage), 0, Some(&to4()))
    }),
    escape("raw udp, ipv6", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        sys::sendto(&socket, &datagram(stage), 0, Some(&to6()))
    }),
    escape("raw icmp, ipv6", CREATE, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
        sys::sendto(&socket, &echo(stage, 128), 0, Some(&to6()))
    }),
];

/// Raw sockets take no port.
pub(super) fn to4() -> Vec<u8> {
    name(SocketAddr::from((REFUSED4, 0)))
}

fn to6() -> Vec<u8> {
    name(SocketAddr::from((REFUSED6, 0)))
}

/// An ICMP echo request with the token. What becomes of its checksum does not matter to who listens to frames.
pub(super) fn echo(stage: &Stage, kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    bytes.extend(stage.token());
    bytes
}

/// A UDP header and the token. The checksum is left out, as IPv4 allows.
pub(super) fn datagram(stage: &Stage) -> Vec<u8> {
    let token = stage.token();
    let length = u16::try_from(8 + token.len()).expect("a token is short");
    let mut bytes = Vec::new();
    for field in [stage.port, stage.port, length, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(token);
    bytes
}

/// A whole IPv4 packet with a datagram.
pub(super) fn packet(stage: &Stage) -> Vec<u8> {
    ipv4(INNER4, REFUSED4, &datagram(stage))
}

/// An IPv4 packet with that datagram.
pub(super) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, datagram: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + datagram.len()).expect("a token is short");
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let sum = bytes.chunks_exact(2).fold(0_u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(folded & 0xffff).expect("16 bits");
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes.extend(datagram);
    bytes
}

/// What an escape gives back that has to be an error of a kind that is not made here.
pub(super) fn made(result: io::Result<std::os::fd::OwnedFd>) -> io::Result<()> {
    result.map(|_| ())
}
