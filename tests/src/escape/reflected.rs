//! The kernel answers whoever seems to have asked: a message to oneself whose source is the refused address has the
//! kernel send an error there, with a part of the message in it, or a handshake.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use super::{
    ClosedBy, Escape, escape,
    stage::{REFUSED4, REFUSED6, Stage, name},
    sys, tcp, udp,
    unspecified::{IPV6_FREEBIND, IPV6_TRANSPARENT, ON},
};

const GUARD: ClosedBy = ClosedBy::Guard;

pub(super) static ESCAPES: &[Escape] = &[
    escape(
        "error for a datagram from the refused address, ipv6 free bind",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
            ask(stage, &socket, Ipv6Addr::LOCALHOST.into())
        },
    ),
    escape(
        "error for a datagram from the refused address, IP_FREEBIND of ipv6",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_FREEBIND, &ON)?;
            ask(stage, &socket, Ipv6Addr::LOCALHOST.into())
        },
    ),
    escape(
        "error for a datagram from the refused address, ipv6 transparent bind",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_TRANSPARENT, &ON)?;
            ask(stage, &socket, Ipv6Addr::UNSPECIFIED.into())
        },
    ),
    escape(
        "error for a datagram from the refused address, transparent bind",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            ask(stage, &socket, Ipv4Addr::LOCALHOST.into())
        },
    ),
    escape(
        "error for a datagram from the refused address, IP_PKTINFO",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            let source = super::unspecified::source4(REFUSED4, 0);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            let to = name((Ipv4Addr::LOCALHOST, stage.port).into());
            sys::Message::new(&stage.token(), &to, Some(control)).send(&socket)
        },
    ),
    escape(
        "error for a datagram from the refused address, IPV6_PKTINFO",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
            let source = super::unspecified::source6(REFUSED6, 0);
            let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
            let to = name((Ipv6Addr::LOCALHOST, stage.port).into());
            sys::Message::new(&stage.token(), &to, Some(control)).send(&socket)
        },
    ),
    escape(
        "reset for a connection from the refused address, ipv6 free bind",
        GUARD,
        |stage| connect(stage, &free()?, Ipv6Addr::LOCALHOST.into()),
    ),
    escape(
        "reset for a connection from the refused address, transparent bind",
        GUARD,
        |stage| {
            let socket = tcp::non_blocking()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            connect(stage, &socket, Ipv4Addr::LOCALHOST.into())
        },
    ),
    escape(
        "handshake for a connection from the refused address, ipv6 free bind",
        GUARD,
        |stage| {
            let listener = tcp::tcp6()?;
            sys::bind(&listener, &name((Ipv6Addr::UNSPECIFIED, stage.port).into()))?;
            sys::listen(&listener)?;
            connect(stage, &free()?, Ipv6Addr::LOCALHOST.into())
        },
    ),
];

fn refused_for(to: IpAddr) -> IpAddr {
    if to.is_ipv4() {
        REFUSED4.into()
    } else {
        REFUSED6.into()
    }
}

/// A datagram to a port of this machine that nobody listens to.
fn ask(stage: &Stage, socket: &OwnedFd, to: IpAddr) -> io::Result<()> {
    sys::bind(socket, &name((refused_for(to), 0).into()))?;
    sys::sendto(socket, &stage.token(), 0, Some(&name((to, stage.port).into())))
}

fn connect(stage: &Stage, socket: &OwnedFd, to: IpAddr) -> io::Result<()> {
    sys::bind(socket, &name((refused_for(to), 0).into()))?;
    tcp::in_progress(sys::connect(socket, &name(SocketAddr::from((to, stage.port)))))
}

fn free() -> io::Result<OwnedFd> {
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
    Ok(socket)
}
