//! Connections.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV6},
    os::fd::OwnedFd,
};

use super::{
    ClosedBy, Escape, escape,
    stage::{self, ALLOWED_PORT, ALLOWED4, INNER4, LINK6, REFUSED4, Stage, name},
    sys,
};

pub(super) static ESCAPES: &[Escape] = &[
    escape("tcp to an allowed destination", ClosedBy::Allowed, |stage| {
        let socket = from_port(stage)?;
        attempt(&socket, &stage::allowed4())
    }),
    escape("tcp connect", ClosedBy::Rules, |stage| {
        attempt(&tcp()?, &stage.refused4())
    }),
    escape("tcp connect, ipv6", ClosedBy::Rules, |stage| {
        attempt(&tcp6()?, &stage.refused6())
    }),
    escape("tcp connect, ipv4-mapped", ClosedBy::Rules, |stage| {
        let mapped = SocketAddr::from((REFUSED4.to_ipv6_mapped(), stage.port));
        attempt(&tcp6()?, &name(mapped))
    }),
    escape("tcp connect, non-blocking", ClosedBy::Rules, |stage| {
        in_progress(sys::connect(&non_blocking()?, &stage.refused4()))
    }),
    escape("tcp connect again after a refusal", ClosedBy::Rules, |stage| {
        let socket = tcp()?;
        let first = attempt(&socket, &stage.refused4());
        let second = attempt(&socket, &stage.refused4());
        first.and(second)
    }),
    escape("tcp connect, bound source", ClosedBy::Rules, |stage| {
        attempt(&from_port(stage)?, &stage.refused4())
    }),
    escape(
        "tcp connect to the allowed host on another port",
        ClosedBy::Rules,
        |stage| attempt(&tcp()?, &name(SocketAddr::from((ALLOWED4, stage.port)))),
    ),
    escape(
        "tcp connect to another host on the allowed port",
        ClosedBy::Rules,
        |stage| {
            let to = SocketAddr::from((REFUSED4, ALLOWED_PORT));
            attempt(&from_port(stage)?, &name(to))
        },
    ),
    escape("tcp connect to port 0", ClosedBy::Rules, |stage| {
        attempt(&from_port(stage)?, &name(SocketAddr::from((REFUSED4, 0))))
    }),
    escape("tcp connect with scope id", ClosedBy::Rules, |stage| {
        let to = SocketAddrV6::new(LINK6, stage.port, 0, stage::device()?);
        attempt(&tcp6()?, &name(to.into()))
    }),
    escape("tcp fast open by MSG_FASTOPEN", ClosedBy::Rules, |stage| {
        let socket = non_blocking()?;
        let to = stage.refused4();
        in_progress(sys::sendto(
            &socket,
            &stage.token(),
            libc::MSG_FASTOPEN,
            Some(&to),
        ))
    }),
    escape(
        "tcp fast open by TCP_FASTOPEN_CONNECT",
        ClosedBy::Rules,
        |stage| {
            let socket = non_blocking()?;
            sys::setsockopt(
                &socket,
                libc::SOL_TCP,
                libc::TCP_FASTOPEN_CONNECT,
                &1_i32.to_ne_bytes(),
            )?;
            in_progress(sys::connect(&socket, &stage.refused4()))?;
            in_progress(sys::sendto(&socket, &stage.token(), 0, None))
        },
    ),
    escape("tcp connect in repair mode", ClosedBy::Rules, |stage| {
        let socket = tcp()?;
        let set =
            |value: i32| sys::setsockopt(&socket, libc::SOL_TCP, libc::TCP_REPAIR, &value.to_ne_bytes());
        set(1)?;
        sys::connect(&socket, &stage.refused4())?;
        set(0)?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    escape("mptcp connect", ClosedBy::Rules, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
        attempt(&socket, &stage.refused4())
    }),
    escape("mptcp connect, ipv6", ClosedBy::Rules, |stage| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?;
        attempt(&socket, &stage.refused6())
    }),
    escape("smc connect", ClosedBy::Rules, |stage| {
        const AF_SMC: i32 = 43;
        attempt(&sys::socket(AF_SMC, libc::SOCK_STREAM, 0)?, &stage.refused4())
    }),
    escape(
        "tcp connect to the unspecified address",
        ClosedBy::Nothing("it is the loopback address"),
        |stage| {
            attempt(
                &tcp()?,
                &name(SocketAddr::from((Ipv4Addr::UNSPECIFIED, stage.port))),
            )
        },
    ),
];

pub(super) fn tcp() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

pub(super) fn tcp6() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)
}

pub(super) fn non_blocking() -> io::Result<OwnedFd> {
    sys::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)
}

/// A socket whose source tells the attempt, where its destination does not.
pub(super) fn from_port(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = tcp()?;
    sys::bind(&socket, &name(SocketAddr::from((INNER4, stage.port))))?;
    Ok(socket)
}

/// Connects. Nobody listens: an answer that says so means that the packet was received.
pub(super) fn attempt(socket: &OwnedFd, to: &[u8]) -> io::Result<()> {
    match sys::connect(socket, to) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Ok(()),
        other => other,
    }
}

/// A call that goes on by itself has not failed.
pub(super) fn in_progress(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINPROGRESS | libc::EAGAIN | libc::ECONNREFUSED)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
