//! A server is made to believe that the refused address has asked, so that it may answer: by messages to oneself with
//! that source. Nobody has asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::OwnedFd,
    time::Duration,
};

use super::{
    Begins, ClosedBy, Escape, escape, kinds,
    stage::{INNER4, INNER6, REFUSED4, REFUSED6, Stage, family, name},
    sys::{self, Message},
    udp,
    unspecified::{IPV6_FREEBIND, IPV6_TRANSPARENT, ON, source4, source6},
};

const RULES: ClosedBy = ClosedBy::Rules;
const QUESTION: &[u8] = b"a question";

pub(super) static ESCAPES: &[Escape] = &[
    escape(
        "answer to a question of one's own, transparent bind",
        RULES,
        |stage| {
            answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp()?;
                sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
                sys::bind(&socket, &stage.refused4())?;
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape(
        "answer to a question of one's own, transparent bind, to 0.0.0.0",
        RULES,
        |stage| {
            answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp()?;
                sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
                sys::bind(&socket, &stage.refused4())?;
                let to = SocketAddr::from((Ipv4Addr::UNSPECIFIED, to.port()));
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape(
        "answer to a question of one's own, transparent bind, to the own address",
        RULES,
        |stage| {
            answer(stage, INNER4.into(), |to| {
                let socket = udp::udp()?;
                sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
                sys::bind(&socket, &stage.refused4())?;
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape("answer to a question of one's own, IP_PKTINFO", RULES, |stage| {
        answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
            let socket = udp::udp()?;
            sys::setsockopt(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, &ON)?;
            sys::bind(&socket, &name((Ipv4Addr::UNSPECIFIED, stage.port).into()))?;
            let source = source4(REFUSED4, 0);
            let control = (libc::SOL_IP, libc::IP_PKTINFO, source.as_slice());
            Message::new(QUESTION, &name(to), Some(control)).send(&socket)
        })
    }),
    escape(
        "answer to a question of one's own, ipv6 transparent bind",
        RULES,
        |stage| {
            answer(stage, Ipv6Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp6()?;
                sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_TRANSPARENT, &ON)?;
                sys::bind(&socket, &stage.refused6())?;
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape(
        "answer to a question of one's own, ipv6 free bind",
        RULES,
        |stage| {
            answer(stage, Ipv6Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp6()?;
                sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
                sys::bind(&socket, &stage.refused6())?;
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape(
        "answer to a question of one's own, ipv6 free bind, to the own address",
        RULES,
        |stage| {
            answer(stage, INNER6.into(), |to| {
                let socket = udp::udp6()?;
                sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
                sys::bind(&socket, &stage.refused6())?;
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape(
        "answer to a question of one's own, IPV6_PKTINFO and free bind",
        RULES,
        |stage| {
            answer(stage, Ipv6Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp6()?;
                sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FREEBIND, &ON)?;
                sys::bind(&socket, &name((Ipv6Addr::UNSPECIFIED, stage.port).into()))?;
                let source = source6(REFUSED6, 0);
                let control = (libc::SOL_IPV6, libc::IPV6_PKTINFO, source.as_slice());
                Message::new(QUESTION, &name(to), Some(control)).send(&socket)
            })
        },
    ),
    escape(
        "answer to a question of one's own, v4-mapped transparent bind",
        RULES,
        |stage| {
            answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
                let socket = udp::udp6()?;
                sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_TRANSPARENT, &ON)?;
                sys::bind(&socket, &stage.refused_mapped())?;
                let to = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), to.port()));
                sys::sendto(&socket, QUESTION, 0, Some(&name(to)))
            })
        },
    ),
    escape("answer to a question of one's own, raw socket", RULES, |stage| {
        answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
            ask_by_raw(stage, &socket, to)
        })
    }),
    Escape {
        begins: Begins::Before,
        ..escape(
            "answer to a question of one's own, raw socket from before",
            RULES,
            |stage| {
                let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
                stage.ready()?;
                answer(stage, Ipv4Addr::LOCALHOST.into(), |to| {
                    ask_by_raw(stage, &socket, to)
                })
            },
        )
    },
    escape(
        "answer to a question of one's own, packet socket",
        RULES,
        |stage| {
            answer(stage, INNER4.into(), |to| {
                let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
                ask_by_packet(stage, &socket, to)
            })
        },
    ),
    Escape {
        begins: Begins::Before,
        ..escape(
            "answer to a question of one's own, packet socket from before",
            RULES,
            |stage| {
                let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
                stage.ready()?;
                answer(stage, INNER4.into(), |to| ask_by_packet(stage, &socket, to))
            },
        )
    },
];

/// A server that hears all: it is asked at `at`, and answers with the token.
fn answer(stage: &Stage, at: IpAddr, ask: impl Fn(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    let any: IpAddr = match at {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let server = UdpSocket::bind((any, 0))?;
    server.set_read_timeout(Some(Duration::from_millis(300)))?;
    ask((at, server.local_addr()?.port()).into())?;
    let (_, client) = server.recv_from(&mut [0; 64])?;
    if ![IpAddr::from(REFUSED4), REFUSED6.into()].contains(&client.ip()) || client.port() != stage.port {
        return Err(io::Error::other(format!("{client} has asked")));
    }
    server.send_to(&stage.token(), client).map(|_| ())
}

/// A datagram from the refused address.
fn question(stage: &Stage, to: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(address) = to.ip() else {
        unreachable!("only IPv4 questions are made by hand");
    };
    let length = u16::try_from(8 + QUESTION.len()).expect("it is short");
    let mut datagram = Vec::new();
    for field in [stage.port, to.port(), length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(QUESTION);
    kinds::ipv4(REFUSED4, address, &datagram)
}

fn ask_by_raw(stage: &Stage, socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    let mut raw = to;
    raw.set_port(0);
    sys::sendto(socket, &question(stage, to), 0, Some(&name(raw)))
}

/// By the loopback device, whose stations have no address.
fn ask_by_packet(stage: &Stage, socket: &OwnedFd, to: SocketAddr) -> io::Result<()> {
    const LOOPBACK: u32 = 1;
    let mut link = family(libc::AF_PACKET).to_vec();
    link.extend(0x0800_u16.to_be_bytes());
    link.extend(LOOPBACK.to_ne_bytes());
    link.extend([0, 0, 0, 6]);
    link.extend([0; 8]);
    sys::sendto(socket, &question(stage, to), 0, Some(&link))
}
