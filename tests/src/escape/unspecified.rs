//! A connection to the unspecified address: the kernel connects a socket to its own source, and where the packets go
//! is looked up again whenever the kernel has forgotten it (`ip_route_output_key_hash_rcu`, `sk_dst_reset`).

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use super::{
    ClosedBy, Escape, escape,
    stage::{self, INNER4, INNER6, REFUSED4, REFUSED6, Stage, name},
    sys::{self, Message},
    tcp, udp,
};

const RULES: ClosedBy = ClosedBy::Rules;
pub(super) const IPV6_TRANSPARENT: i32 = 75;
pub(super) const IPV6_FREEBIND: i32 = 78;
pub(super) const ON: [u8; 4] = 1_i32.to_ne_bytes();

pub(super) static ESCAPES: &[Escape] = &[
    escape(
        "udp connected to 0.0.0.0 from the refused address",
        RULES,
        |stage| {
            let socket = connected(stage)?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp connected to 0.0.0.0 from the refused address, sent with IP_PKTINFO",
        RULES,
        |stage| {
            let source = source4(INNER4, 0);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            Message::new(&stage.token(), &[], Some(control)).send(&connected(stage)?)
        },
    ),
    escape(
        "udp connected to 0.0.0.0 from the refused address, sent with MSG_DONTROUTE",
        RULES,
        |stage| sys::sendto(&connected(stage)?, &stage.token(), libc::MSG_DONTROUTE, None),
    ),
    escape(
        "udp connected to 0.0.0.0 from the refused address, then SO_BINDTODEVICE",
        RULES,
        |stage| {
            let socket = connected(stage)?;
            bind_to_device(&socket)?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp connected to 0.0.0.0 from the refused address, then IP_TOS",
        RULES,
        |stage| {
            let socket = connected(stage)?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TOS, &16_i32.to_ne_bytes())?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp connected to 0.0.0.0 from the refused address, then SO_MARK",
        RULES,
        |stage| {
            let socket = connected(stage)?;
            sys::setsockopt(&socket, libc::SOL_SOCKET, libc::SO_MARK, &7_i32.to_ne_bytes())?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp connected to ::ffff:0.0.0.0 from the refused address, sent with IP_PKTINFO",
        RULES,
        |stage| {
            let source = source4(INNER4, 0);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            Message::new(&stage.token(), &[], Some(control)).send(&connected_mapped(stage)?)
        },
    ),
    escape(
        "udp connected to ::ffff:0.0.0.0 from the refused address, then SO_BINDTODEVICE",
        RULES,
        |stage| {
            let socket = connected_mapped(stage)?;
            bind_to_device(&socket)?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp to 0.0.0.0 with IP_PKTINFO of the refused source",
        RULES,
        |stage| {
            let socket = udp::udp()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            let source = source4(REFUSED4, stage::device()?);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            let to = name(SocketAddr::from((Ipv4Addr::UNSPECIFIED, stage.port)));
            Message::new(&stage.token(), &to, Some(control)).send(&socket)
        },
    ),
    escape("udp connected to 0.0.0.0 from a free bind", RULES, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_IP, libc::IP_FREEBIND, &ON)?;
        connect_to_itself(stage, &socket)?;
        bind_to_device(&socket)?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape(
        "udp connected to :: from the refused address, then SO_BINDTODEVICE",
        ClosedBy::Guard,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_TRANSPARENT, &ON)?;
            sys::bind(&socket, &name(SocketAddr::from((REFUSED6, 0))))?;
            sys::connect(
                &socket,
                &name(SocketAddr::from((Ipv6Addr::UNSPECIFIED, stage.port))),
            )?;
            bind_to_device(&socket)?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp connected to :: from a free bind, sent with IPV6_PKTINFO",
        ClosedBy::Guard,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
            sys::bind(&socket, &name(SocketAddr::from((REFUSED6, 0))))?;
            sys::connect(
                &socket,
                &name(SocketAddr::from((Ipv6Addr::UNSPECIFIED, stage.port))),
            )?;
            let source = source6(INNER6, stage::device()?);
            let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
            Message::new(&stage.token(), &[], Some(control)).send(&socket)
        },
    ),
    escape(
        "tcp connected to 0.0.0.0 from the refused address, then SO_BINDTODEVICE",
        RULES,
        |stage| {
            let socket = tcp::non_blocking()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            sys::bind(&socket, &name(SocketAddr::from((REFUSED4, 0))))?;
            let to = name(SocketAddr::from((Ipv4Addr::UNSPECIFIED, stage.port)));
            tcp::in_progress(sys::connect(&socket, &to))?;
            bind_to_device(&socket)?;
            // The first packet was lost on the loopback device; the second is sent after a second.
            sys::wait_for_end(&socket, 1500)
        },
    ),
];

/// A socket whose source is the refused address, and so is whom it is connected to.
fn connected(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = udp::udp()?;
    sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
    connect_to_itself(stage, &socket)?;
    Ok(socket)
}

fn connect_to_itself(stage: &Stage, socket: &OwnedFd) -> io::Result<()> {
    sys::bind(socket, &name(SocketAddr::from((REFUSED4, 0))))?;
    sys::connect(
        socket,
        &name(SocketAddr::from((Ipv4Addr::UNSPECIFIED, stage.port))),
    )
}

/// The same by an IPv6 socket.
fn connected_mapped(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = udp::udp6()?;
    sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_TRANSPARENT, &ON)?;
    sys::bind(&socket, &name(SocketAddr::from((REFUSED4.to_ipv6_mapped(), 0))))?;
    let to = SocketAddr::from((Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), stage.port));
    sys::connect(&socket, &name(to))?;
    Ok(socket)
}

pub(super) fn bind_to_device(socket: &OwnedFd) -> io::Result<()> {
    let device = stage::DEVICE.as_bytes();
    sys::setsockopt(socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device)
}

/// `struct in_pktinfo`.
pub(super) fn source4(source: Ipv4Addr, device: u32) -> Vec<u8> {
    let mut bytes = device.to_ne_bytes().to_vec();
    bytes.extend(source.octets());
    bytes.extend([0; 4]);
    bytes
}

/// `struct in6_pktinfo`.
pub(super) fn source6(source: Ipv6Addr, device: u32) -> Vec<u8> {
    let mut bytes = source.octets().to_vec();
    bytes.extend(device.to_ne_bytes());
    bytes
}
