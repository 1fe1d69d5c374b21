//! Datagram sockets from outside with a destination of their own: what is sent inside goes there, whatever the call's
//! argument says.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
};

use super::{
    Begins, ClosedBy, Escape, escape,
    stage::{self, Stage},
    sys, udp,
};

const SENDMSG: ClosedBy = ClosedBy::Call("lsm_sendmsg");
const UDP_CORK: i32 = 1;

pub(super) static ESCAPES: &[Escape] = &[
    outside(
        "udp socket connected outside, ipv6, sendto a name without a family",
        |stage| {
            let socket = connected6(stage)?;
            stage.join()?;
            sys::sendto(&socket, &stage.token(), 0, Some(&loopback_without_family()))
        },
    ),
    outside(
        "udp socket connected outside, ipv6, sendto a name of two bytes",
        |stage| {
            let socket = connected6(stage)?;
            stage.join()?;
            sys::sendto(&socket, &stage.token(), 0, Some(&[0, 0]))
        },
    ),
    outside(
        "udp socket connected outside, v4-mapped, sendto a name without a family",
        |stage| {
            let socket = udp::udp6()?;
            sys::connect(&socket, &stage.refused_mapped())?;
            stage.join()?;
            sys::sendto(&socket, &stage.token(), 0, Some(&loopback_without_family()))
        },
    ),
    outside("udp socket connected outside, v4-mapped", |stage| {
        let socket = udp::udp6()?;
        sys::connect(&socket, &stage.refused_mapped())?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside("udp socket from outside, connected to port 0 inside", |stage| {
        let socket = udp::udp()?;
        sys::bind(
            &socket,
            &stage::name((std::net::Ipv4Addr::UNSPECIFIED, stage.port).into()),
        )?;
        stage.join()?;
        sys::connect(&socket, &stage::name((stage::REFUSED4, 0).into()))?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside(
        "udp socket from outside, connected to ::ffff:127.0.0.1 inside, sendto a name without a family",
        |stage| {
            let socket = udp::udp6()?;
            stage.join()?;
            let mapped = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped();
            sys::connect(&socket, &stage::name((mapped, stage.port).into()))?;
            sys::sendto(&socket, &stage.token(), 0, Some(&loopback_without_family()))
        },
    ),
    outside(
        "udp socket from outside to ::1, IPV6_PKTINFO set on the socket",
        |stage| {
            let socket = udp::udp6()?;
            let source = super::unspecified::source6(stage::INNER6, stage::device()?);
            sys::setsockopt(&socket, libc::SOL_IPV6, libc::IPV6_PKTINFO, &source)?;
            stage.join()?;
            let to = stage::name((std::net::Ipv6Addr::LOCALHOST, stage.port).into());
            udp::send(stage, &socket, &to)
        },
    ),
    outside("udp socket connected outside, spliced into", |stage| {
        let socket = connected4(stage)?;
        stage.join()?;
        splice_into(stage, &socket)
    }),
    outside("udp socket connected outside, ipv6, spliced into", |stage| {
        let socket = connected6(stage)?;
        stage.join()?;
        splice_into(stage, &socket)
    }),
    outside("udp socket connected outside, sendfile into it", |stage| {
        let socket = connected4(stage)?;
        let file = file(stage)?;
        stage.join()?;
        sys::sendfile(&socket, &file, stage.token().len())
    }),
    outside("udp socket connected outside, sendmmsg without names", |stage| {
        let socket = connected4(stage)?;
        stage.join()?;
        let message = || sys::Message::new(&stage.token(), &[], None);
        sys::Message::send_all(vec![message(), message()], &socket)
    }),
    outside("udp socket connected outside, sent by io_uring", |stage| {
        let socket = connected4(stage)?;
        stage.join()?;
        sys::Message::new(&stage.token(), &[], None).send_by_ring(&socket)
    }),
    outside("udp socket corked outside, flushed by an allowed name", |stage| {
        let socket = corked(stage)?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, Some(&stage::allowed4()))
    }),
    outside(
        "udp socket corked outside, ipv6, flushed by an allowed name",
        |stage| {
            let socket = udp::udp6()?;
            sys::sendto(&socket, b"harmless", libc::MSG_MORE, Some(&stage.refused6()))?;
            stage.join()?;
            sys::sendto(&socket, &stage.token(), 0, Some(&stage::allowed6()))
        },
    ),
    outside("udp socket corked outside, flushed by a loopback name", |stage| {
        let socket = corked(stage)?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, Some(&loopback4()))
    }),
    outside("udp socket corked outside, flushed without a name", |stage| {
        let socket = corked(stage)?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside("udp socket corked outside, flushed by UDP_CORK", |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_UDP, UDP_CORK, &1_i32.to_ne_bytes())?;
        sys::sendto(&socket, b"harmless", 0, Some(&stage.refused4()))?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, Some(&stage::allowed4()))?;
        sys::setsockopt(&socket, libc::SOL_UDP, UDP_CORK, &0_i32.to_ne_bytes())
    }),
    outside("udp socket connected outside, taken by pidfd_getfd", |stage| {
        if stage.role.is_empty() {
            let socket = connected4(stage)?;
            let role = format!("{}:{}", std::process::id(), socket.as_raw_fd());
            return stage.spawn(&role, File::open("/dev/null")?.into());
        }
        let socket = taken(stage)?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside("udp socket taken by pidfd_getfd", |stage| {
        if stage.role.is_empty() {
            let socket = udp::udp()?;
            let role = format!("{}:{}", std::process::id(), socket.as_raw_fd());
            return stage.spawn(&role, File::open("/dev/null")?.into());
        }
        let socket = taken(stage)?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    Escape {
        closed_by: ClosedBy::Allowed,
        ..outside(
            "udp socket connected outside to an allowed one, spliced into",
            |stage| {
                let socket = udp::udp()?;
                sys::connect(&socket, &stage::allowed4())?;
                stage.join()?;
                splice_into(stage, &socket)
            },
        )
    },
];

const fn outside(name: &'static str, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Outside,
        ..escape(name, SENDMSG, attempt)
    }
}

fn connected4(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = udp::udp()?;
    sys::connect(&socket, &stage.refused4())?;
    Ok(socket)
}

fn connected6(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = udp::udp6()?;
    sys::connect(&socket, &stage.refused6())?;
    Ok(socket)
}

/// Holds the beginning of a datagram to the refused address.
fn corked(stage: &Stage) -> io::Result<OwnedFd> {
    let socket = udp::udp()?;
    sys::sendto(&socket, b"harmless", libc::MSG_MORE, Some(&stage.refused4()))?;
    Ok(socket)
}

/// The kernel takes such a name for none (`udpv6_sendmsg`).
fn loopback_without_family() -> Vec<u8> {
    let mut name = stage::name((std::net::Ipv6Addr::LOCALHOST, 9).into());
    name[..2].fill(0);
    name
}

fn loopback4() -> Vec<u8> {
    stage::name((std::net::Ipv4Addr::LOCALHOST, 9).into())
}

fn splice_into(stage: &Stage, socket: &OwnedFd) -> io::Result<()> {
    let (end, mut beginning) = io::pipe()?;
    beginning.write_all(&stage.token())?;
    sys::splice(&end, socket, stage.token().len())
}

/// A file with the token.
fn file(stage: &Stage) -> io::Result<File> {
    let mut file = sys::memory_file()?;
    file.write_all(&stage.token())?;
    file.rewind()?;
    Ok(file)
}

/// The descriptor that the role names, as `process:number`, taken from inside by somebody who may look into the other
/// process.
fn taken(stage: &Stage) -> io::Result<OwnedFd> {
    let (process, number) = stage.role.split_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let parse = |word: &str| word.parse::<i32>().map_err(io::Error::other);
    stage.join_as_it_is()?;
    let socket = sys::take_from(parse(process)?, parse(number)?)?;
    stage.privileges.take()?;
    Ok(socket)
}
