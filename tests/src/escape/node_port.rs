//! Loopback and the node's own address where the kernel translates them: in the node's network, a port of its own is
//! somebody else's.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

use super::{
    ClosedBy, Escape, escape,
    stage::{INNER4, Stage, name},
    sys, tcp,
    translate::NODE_PORT,
    udp,
};

const GUARD: ClosedBy = ClosedBy::Guard;
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(super) static ESCAPES: &[Escape] = &[
    escape("udp to a node port of 127.0.0.1", GUARD, |stage| {
        udp::send(stage, &udp::udp()?, &port_of(LOCAL))
    }),
    escape("udp connected to a node port of 127.0.0.1", GUARD, |stage| {
        connected(stage, &udp::udp()?, LOCAL)
    }),
    escape("udp to a node port of 127.0.0.1, v4-mapped", GUARD, |stage| {
        let to = SocketAddr::from((LOCAL.to_ipv6_mapped(), NODE_PORT));
        udp::send(stage, &udp::udp6()?, &name(to))
    }),
    escape("udp to a node port of the own address", GUARD, |stage| {
        udp::send(stage, &udp::udp()?, &port_of(INNER4))
    }),
    escape(
        "udp to a node port of 0.0.0.0 from the own address",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::bind(&socket, &name((INNER4, 0).into()))?;
            udp::send(stage, &socket, &port_of(ANY))
        },
    ),
    escape(
        "udp connected to a node port of 0.0.0.0 from the own address",
        GUARD,
        |stage| {
            let socket = udp::udp()?;
            sys::bind(&socket, &name((INNER4, 0).into()))?;
            connected(stage, &socket, ANY)
        },
    ),
    escape("tcp to a node port of 127.0.0.1", GUARD, |stage| {
        let socket = tcp::non_blocking()?;
        sys::bind(&socket, &name((ANY, stage.port).into()))?;
        tcp::in_progress(sys::connect(&socket, &port_of(LOCAL)))
    }),
    escape("tcp to a node port of the own address", GUARD, |stage| {
        tcp::attempt(&tcp::from_port(stage)?, &port_of(INNER4))
    }),
    escape(
        "tcp to a node port of 0.0.0.0 from the own address",
        GUARD,
        |stage| {
            let socket = tcp::non_blocking()?;
            sys::bind(&socket, &name((INNER4, stage.port).into()))?;
            tcp::in_progress(sys::connect(&socket, &port_of(ANY)))
        },
    ),
];

fn port_of(address: Ipv4Addr) -> Vec<u8> {
    name((address, NODE_PORT).into())
}

fn connected(stage: &Stage, socket: &OwnedFd, to: Ipv4Addr) -> io::Result<()> {
    sys::connect(socket, &port_of(to))?;
    sys::sendto(socket, &stage.token(), 0, None)
}
