//! Datagrams.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::OwnedFd,
};

use super::{
    ClosedBy, Escape, escape,
    stage::{self, INNER6, LINK6, REFUSED4, Stage, name},
    sys::{self, Message},
};

pub(super) static ESCAPES: &[Escape] = &[
    escape("udp to an allowed destination", ClosedBy::Allowed, |stage| {
        send(stage, &udp()?, &stage::allowed4())
    }),
    escape("udp sendto", ClosedBy::Rules, |stage| {
        send(stage, &udp()?, &stage.refused4())
    }),
    escape("udp sendto, ipv6", ClosedBy::Rules, |stage| {
        send(stage, &udp6()?, &stage.refused6())
    }),
    escape("udp sendto, ipv4-mapped", ClosedBy::Rules, |stage| {
        let mapped = SocketAddr::from((REFUSED4.to_ipv6_mapped(), stage.port));
        send(stage, &udp6()?, &name(mapped))
    }),
    escape(
        "udp sendto an ipv4 name from an ipv6 socket",
        ClosedBy::Rules,
        |stage| send(stage, &udp6()?, &stage.refused4()),
    ),
    escape("udp sendto, family unspecified", ClosedBy::Rules, |stage| {
        let mut to = stage.refused4();
        to[..2].fill(0);
        send(stage, &udp()?, &to)
    }),
    escape("udp sendmsg", ClosedBy::Rules, |stage| {
        Message::new(&stage.token(), &stage.refused4(), None).send(&udp()?)
    }),
    escape("udp sendmmsg behind an allowed one", ClosedBy::Rules, |stage| {
        let first = Message::new(b"harmless", &stage::allowed4(), None);
        let second = Message::new(&stage.token(), &stage.refused4(), None);
        Message::send_all(vec![first, second], &udp()?)
    }),
    escape("udp connect and send", ClosedBy::Rules, |stage| {
        let socket = udp()?;
        sys::connect(&socket, &stage.refused4())?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape("udp connect and send, ipv6", ClosedBy::Rules, |stage| {
        let socket = udp6()?;
        sys::connect(&socket, &stage.refused6())?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape(
        "udp connected to an allowed one, sendto elsewhere",
        ClosedBy::Rules,
        |stage| {
            let socket = udp()?;
            sys::connect(&socket, &stage::allowed4())?;
            send(stage, &socket, &stage.refused4())
        },
    ),
    escape(
        "udp connected to an allowed one, connected again",
        ClosedBy::Rules,
        |stage| {
            let socket = udp()?;
            sys::connect(&socket, &stage::allowed4())?;
            sys::connect(&socket, &stage.refused4())?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape(
        "udp corked for an allowed one, flushed elsewhere",
        ClosedBy::Rules,
        |stage| {
            let socket = udp()?;
            sys::sendto(&socket, b"harmless", 0, Some(&stage::allowed4()))?;
            sys::sendto(&socket, &stage.token(), libc::MSG_MORE, Some(&stage.refused4()))?;
            sys::sendto(&socket, b".", 0, Some(&stage::allowed4()))
        },
    ),
    escape("udp broadcast", ClosedBy::Rules, |stage| {
        let socket = udp()?;
        sys::setsockopt(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_BROADCAST,
            &1_i32.to_ne_bytes(),
        )?;
        send(
            stage,
            &socket,
            &name(SocketAddr::from((Ipv4Addr::new(198, 18, 7, 255), stage.port))),
        )
    }),
    escape("udp multicast", ClosedBy::Rules, |stage| {
        let group = SocketAddr::from((Ipv4Addr::new(224, 0, 0, 251), stage.port));
        send(stage, &udp()?, &name(group))
    }),
    escape("udp multicast, ipv6", ClosedBy::Rules, |stage| {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        let to = SocketAddrV6::new(group, stage.port, 0, stage::device()?);
        send(stage, &udp6()?, &name(to.into()))
    }),
    escape("udp with scope id", ClosedBy::Rules, |stage| {
        let to = SocketAddrV6::new(LINK6, stage.port, 0, stage::device()?);
        send(stage, &udp6()?, &name(to.into()))
    }),
    escape("udp with IPV6_PKTINFO", ClosedBy::Rules, |stage| {
        let mut source = INNER6.octets().to_vec();
        source.extend(stage::device()?.to_ne_bytes());
        let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
        Message::new(&stage.token(), &stage.refused6(), Some(control)).send(&udp6()?)
    }),
    escape("udp bound to the device", ClosedBy::Rules, |stage| {
        let socket = udp()?;
        let device = stage::DEVICE.as_bytes();
        sys::setsockopt(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device)?;
        send(stage, &socket, &stage.refused4())
    }),
];

pub(super) fn udp() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
}

pub(super) fn udp6() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)
}

/// Sends the token.
pub(super) fn send(stage: &Stage, socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    sys::sendto(socket, &stage.token(), 0, Some(to))
}
