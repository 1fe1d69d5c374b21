//! Loopback addresses that leave by another device than the loopback one. The neighbour need not have such an address:
//! it sees the packet.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use super::{
    ClosedBy, Escape, Evidence, escape,
    stage::{self, ALLOWED_PORT, ALLOWED4, INNER4, INNER6, Stage, name},
    sys::{self, Message},
    tcp, udp,
    unspecified::{bind_to_device, source4, source6},
};

const GUARD: ClosedBy = ClosedBy::Guard;
const LOCAL4: Ipv4Addr = Ipv4Addr::LOCALHOST;
const LOCAL6: Ipv6Addr = Ipv6Addr::LOCALHOST;
const ANY4: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const ANY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const MAPPED: Ipv6Addr = LOCAL4.to_ipv6_mapped();

pub(super) static ESCAPES: &[Escape] = &[
    escape("udp to 127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, LOCAL4.into())
    }),
    escape("udp to 127.8.8.8, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, Ipv4Addr::new(127, 8, 8, 8).into())
    }),
    escape("udp to ::1, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, LOCAL6.into())
    }),
    escape("udp to 0.0.0.0, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, ANY4.into())
    }),
    escape("udp to ::, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, ANY6.into())
    }),
    escape("udp to ::ffff:127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        bound(stage, MAPPED.into())
    }),
    escape("udp connected to 127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = udp::udp()?;
        bind_to_device(&socket)?;
        connected(stage, &socket, LOCAL4.into())
    }),
    escape("udp connected to ::1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = udp::udp6()?;
        bind_to_device(&socket)?;
        connected(stage, &socket, LOCAL6.into())
    }),
    escape(
        "udp connected to 127.0.0.1, then SO_BINDTODEVICE",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &to(stage, LOCAL4.into()))?;
            bind_to_device(&socket)?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    escape("udp connected to ::1, then SO_BINDTODEVICE", GUARD, |stage| {
        let socket = udp::udp6()?;
        sys::connect(&socket, &to(stage, LOCAL6.into()))?;
        bind_to_device(&socket)?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape("udp to 127.0.0.1, IP_PKTINFO of the device", GUARD, |stage| {
        with_pktinfo4(stage, &udp::udp()?, &to(stage, LOCAL4.into()))
    }),
    escape(
        "udp connected to 127.0.0.1, IP_PKTINFO of the device",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &to(stage, LOCAL4.into()))?;
            with_pktinfo4(stage, &socket, &[])
        },
    ),
    escape(
        "udp to ::ffff:127.0.0.1, IP_PKTINFO of the device",
        GUARD,
        |stage| with_pktinfo4(stage, &udp::udp6()?, &to(stage, MAPPED.into())),
    ),
    escape("udp to ::1, IPV6_PKTINFO of the device", GUARD, |stage| {
        with_pktinfo6(stage, &udp::udp6()?, &to(stage, LOCAL6.into()))
    }),
    escape("udp to ::, IPV6_PKTINFO of the device", GUARD, |stage| {
        with_pktinfo6(stage, &udp::udp6()?, &to(stage, ANY6.into()))
    }),
    escape(
        "udp connected to ::1, IPV6_PKTINFO of the device",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::connect(&socket, &to(stage, LOCAL6.into()))?;
            with_pktinfo6(stage, &socket, &[])
        },
    ),
    escape("udp to ::1, IPV6_PKTINFO set on the socket", GUARD, |stage| {
        let socket = udp::udp6()?;
        let source = source6(INNER6, stage::device()?);
        sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_PKTINFO, &source)?;
        udp::send(stage, &socket, &to(stage, LOCAL6.into()))
    }),
    escape("udp to 127.0.0.1, IP_UNICAST_IF", GUARD, |stage| {
        let socket = udp::udp()?;
        unicast4(&socket)?;
        udp::send(stage, &socket, &to(stage, LOCAL4.into()))
    }),
    escape("udp connected to 127.0.0.1, IP_UNICAST_IF", GUARD, |stage| {
        let socket = udp::udp()?;
        unicast4(&socket)?;
        connected(stage, &socket, LOCAL4.into())
    }),
    escape("udp to ::ffff:127.0.0.1, IP_UNICAST_IF", GUARD, |stage| {
        let socket = udp::udp6()?;
        unicast4(&socket)?;
        udp::send(stage, &socket, &to(stage, MAPPED.into()))
    }),
    escape("udp to ::1, IPV6_UNICAST_IF", GUARD, |stage| {
        let socket = udp::udp6()?;
        unicast6(&socket)?;
        udp::send(stage, &socket, &to(stage, LOCAL6.into()))
    }),
    escape("udp connected to ::1, IPV6_UNICAST_IF", GUARD, |stage| {
        let socket = udp::udp6()?;
        unicast6(&socket)?;
        connected(stage, &socket, LOCAL6.into())
    }),
    escape("udp to 127.0.0.1, IP_MULTICAST_IF", GUARD, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_IP, libc::IP_MULTICAST_IF, &INNER4.octets())?;
        udp::send(stage, &socket, &to(stage, LOCAL4.into()))
    }),
    escape("udp to ::1 with scope id", GUARD, |stage| {
        let to = SocketAddrV6::new(LOCAL6, stage.port, 0, stage::device()?);
        udp::send(stage, &udp::udp6()?, &name(to.into()))
    }),
    escape("tcp to 127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = tcp::non_blocking()?;
        bind_to_device(&socket)?;
        tcp::in_progress(sys::connect(&socket, &to(stage, LOCAL4.into())))
    }),
    escape("tcp to ::1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        bind_to_device(&socket)?;
        tcp::in_progress(sys::connect(&socket, &to(stage, LOCAL6.into())))
    }),
    escape("tcp to ::ffff:127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        bind_to_device(&socket)?;
        tcp::in_progress(sys::connect(&socket, &to(stage, MAPPED.into())))
    }),
    escape("tcp to 127.0.0.1, IP_UNICAST_IF", GUARD, |stage| {
        let socket = tcp::non_blocking()?;
        unicast4(&socket)?;
        tcp::in_progress(sys::connect(&socket, &to(stage, LOCAL4.into())))
    }),
    escape("tcp to ::1, IPV6_UNICAST_IF", GUARD, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
        unicast6(&socket)?;
        tcp::in_progress(sys::connect(&socket, &to(stage, LOCAL6.into())))
    }),
    escape("io_uring sendmsg to 127.0.0.1, SO_BINDTODEVICE", GUARD, |stage| {
        let socket = udp::udp()?;
        bind_to_device(&socket)?;
        Message::new(&stage.token(), &to(stage, LOCAL4.into()), None).send_by_ring(&socket)
    }),
    escape(
        "udp connected to ::ffff:127.0.0.1, sendto a name without a family",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            sys::connect(&socket, &to(stage, MAPPED.into()))?;
            sys::sendto(&socket, &stage.token(), 0, Some(&[0, 0]))
        },
    ),
    escape(
        "udp connected to an allowed ipv4-mapped one, sendto a name without a family",
        GUARD,
        |stage| {
            let socket = udp::udp6()?;
            let allowed = SocketAddr::from((ALLOWED4.to_ipv6_mapped(), ALLOWED_PORT));
            sys::connect(&socket, &name(allowed))?;
            sys::sendto(&socket, &stage.token(), 0, Some(&[0, 0]))
        },
    ),
    works("udp to oneself by 127.0.0.1", |stage| {
        to_oneself(stage, LOCAL4.into())
    }),
    works("udp to oneself by ::1", |stage| to_oneself(stage, LOCAL6.into())),
    works("udp to oneself by 0.0.0.0", |stage| {
        to_oneself(stage, ANY4.into())
    }),
    works("udp to oneself by ::", |stage| to_oneself(stage, ANY6.into())),
    works("udp to oneself by 127.0.0.1, SO_BINDTODEVICE of lo", |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"lo")?;
        received(
            stage,
            LOCAL4.into(),
            &socket,
            Message::new(&stage.token(), &to(stage, LOCAL4.into()), None),
        )
    }),
    works("udp to oneself by ::1, IPV6_PKTINFO of lo", |stage| {
        let source = source6(LOCAL6, 1);
        let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
        let message = Message::new(&stage.token(), &to(stage, LOCAL6.into()), Some(control));
        received(stage, LOCAL6.into(), &udp::udp6()?, message)
    }),
];

const fn works(name: &'static str, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        evidence: Evidence::Success,
        ..escape(name, ClosedBy::Allowed, attempt)
    }
}

fn to(stage: &Stage, address: IpAddr) -> Vec<u8> {
    name(SocketAddr::from((address, stage.port)))
}

fn udp_for(address: IpAddr) -> io::Result<OwnedFd> {
    if address.is_ipv4() {
        udp::udp()
    } else {
        udp::udp6()
    }
}

fn bound(stage: &Stage, address: IpAddr) -> io::Result<()> {
    let socket = udp_for(address)?;
    bind_to_device(&socket)?;
    udp::send(stage, &socket, &to(stage, address))
}

fn connected(stage: &Stage, socket: &OwnedFd, address: IpAddr) -> io::Result<()> {
    sys::connect(socket, &to(stage, address))?;
    sys::sendto(socket, &stage.token(), 0, None)
}

fn with_pktinfo4(stage: &Stage, socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let source = source4(INNER4, stage::device()?);
    let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
    Message::new(&stage.token(), to, Some(control)).send(socket)
}

fn with_pktinfo6(stage: &Stage, socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let source = source6(INNER6, stage::device()?);
    let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
    Message::new(&stage.token(), to, Some(control)).send(socket)
}

fn unicast4(socket: &OwnedFd) -> io::Result<()> {
    sys::setsockopt(
        socket,
        libc::SOL_IP,
        libc::IP_UNICAST_IF,
        &stage::device()?.to_be_bytes(),
    )
}

fn unicast6(socket: &OwnedFd) -> io::Result<()> {
    let device = stage::device()?.to_be_bytes();
    sys::setsockopt(socket, libc::SOL_IPV6, libc::IPV6_UNICAST_IF, &device)
}

fn to_oneself(stage: &Stage, address: IpAddr) -> io::Result<()> {
    let message = Message::new(&stage.token(), &to(stage, address), None);
    received(stage, address, &udp_for(address)?, message)
}

/// Sends a message to a socket of this process at that address.
fn received(stage: &Stage, address: IpAddr, from: &OwnedFd, message: Message) -> io::Result<()> {
    let receiver = UdpSocket::bind((address, stage.port))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    message.send(from)?;
    let mut data = [0; 64];
    let size = receiver.recv(&mut data)?;
    if data[..size] == stage.token() {
        Ok(())
    } else {
        Err(io::Error::other("something else was received"))
    }
}
