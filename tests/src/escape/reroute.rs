//! Packets that go elsewhere than their destination says: sent to an allowed host by way of a refused one.

use std::io;

use super::{
    Begins, ClosedBy, Escape, escape,
    stage::{self, REFUSED4, REFUSED6, Stage},
    sys::{self, Message},
    tcp, udp,
};

const OPTION: ClosedBy = ClosedBy::Call("setsockopt");
const SENDMSG: ClosedBy = ClosedBy::Call("lsm_sendmsg");
const LOOSE: u8 = 131;
const STRICT: u8 = 137;

pub(super) static ESCAPES: &[Escape] = &[
    escape("udp, loose source route", OPTION, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_IP, libc::IP_OPTIONS, &source_route(LOOSE))?;
        udp::send(stage, &socket, &stage::allowed4())
    }),
    escape("udp, strict source route", OPTION, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_IP, libc::IP_OPTIONS, &source_route(STRICT))?;
        udp::send(stage, &socket, &stage::allowed4())
    }),
    escape("tcp, loose source route", OPTION, |stage| {
        let socket = tcp::from_port(stage)?;
        sys::setsockopt(&socket, libc::SOL_IP, libc::IP_OPTIONS, &source_route(LOOSE))?;
        nix::fcntl::fcntl(
            &socket,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        tcp::in_progress(sys::connect(&socket, &stage::allowed4()))
    }),
    escape(
        "udp, source route as a control message",
        ClosedBy::Guard,
        |stage| {
            let route = source_route(LOOSE);
            let control = (libc::SOL_IP, libc::IP_RETOPTS, route.as_slice());
            Message::new(&stage.token(), &stage::allowed4(), Some(control)).send(&udp::udp()?)
        },
    ),
    escape("udp, segment routing header", OPTION, |stage| {
        let socket = udp::udp6()?;
        sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_RTHDR, &segments())?;
        udp::send(stage, &socket, &stage::allowed6())
    }),
    escape(
        "udp, segment routing header as a control message",
        ClosedBy::Guard,
        |stage| {
            either_header(|route| {
                let control = (libc::SOL_IPV6, libc::IPV6_RTHDR, route);
                Message::new(&stage.token(), &stage::allowed6(), Some(control)).send(&udp::udp6()?)
            })
        },
    ),
    escape("udp, routing header of type 2", OPTION, |stage| {
        let socket = udp::udp6()?;
        sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_RTHDR, &mobile())?;
        udp::send(stage, &socket, &stage::allowed6())
    }),
    escape("udp, routing header by IPV6_2292PKTOPTIONS", OPTION, |stage| {
        const IPV6_2292PKTOPTIONS: i32 = 6;
        const IPV6_2292RTHDR: i32 = 5;
        let socket = udp::udp6()?;
        either_header(|route| {
            let mut options = (16 + route.len()).to_ne_bytes().to_vec();
            options.extend(libc::SOL_IPV6.to_ne_bytes());
            options.extend(IPV6_2292RTHDR.to_ne_bytes());
            options.extend(route);
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_2292PKTOPTIONS, &options)
        })?;
        udp::send(stage, &socket, &stage::allowed6())
    }),
    outside(
        "udp socket from outside, segment routing header set inside",
        ClosedBy::Call("lsm_setsockopt"),
        |stage| {
            let socket = udp::udp6()?;
            stage.join()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_RTHDR, &segments())?;
            udp::send(stage, &socket, &stage::allowed6())
        },
    ),
    outside(
        "udp socket from outside, segment routing header set outside",
        SENDMSG,
        |stage| {
            let socket = udp::udp6()?;
            sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_RTHDR, &segments())?;
            stage.join()?;
            udp::send(stage, &socket, &stage::allowed6())
        },
    ),
    outside(
        "udp socket from outside, source route set outside",
        SENDMSG,
        |stage| {
            let socket = udp::udp()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_OPTIONS, &source_route(LOOSE))?;
            stage.join()?;
            udp::send(stage, &socket, &stage::allowed4())
        },
    ),
    outside(
        "udp socket from outside, source route as a control message",
        SENDMSG,
        |stage| {
            let (socket, route) = (udp::udp()?, source_route(LOOSE));
            stage.join()?;
            let control = (libc::SOL_IP, libc::IP_RETOPTS, route.as_slice());
            Message::new(&stage.token(), &stage::allowed4(), Some(control)).send(&socket)
        },
    ),
];

const fn outside(name: &'static str, closed_by: ClosedBy, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Outside,
        ..escape(name, closed_by, attempt)
    }
}

/// Tries one kind of routing header, and the other where the kernel does not know the first: which of them a control
/// message may have depends on its version and configuration.
fn either_header(attempt: impl Fn(&[u8]) -> io::Result<()>) -> io::Result<()> {
    match attempt(&segments()) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => attempt(&mobile()),
        other => other,
    }
}

/// RFC 791: one hop, then the destination of the socket.
fn source_route(kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind, 7, 4];
    bytes.extend(REFUSED4.octets());
    bytes.push(0);
    bytes
}

/// RFC 8754: one hop, then the destination of the socket, which the kernel writes into the first place.
fn segments() -> Vec<u8> {
    let mut bytes = vec![0, 4, 4, 1, 1, 0, 0, 0];
    bytes.extend([0; 16]);
    bytes.extend(REFUSED6.octets());
    bytes
}

/// RFC 6275: by way of a refused address, which is the mobile node's own.
pub(super) fn mobile() -> Vec<u8> {
    let mut bytes = vec![0, 2, 2, 1, 0, 0, 0, 0];
    bytes.extend(REFUSED6.octets());
    bytes
}
