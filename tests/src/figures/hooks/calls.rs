//! The calls that programs run in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};

use anyhow::Result;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::hook::Hook;
use crate::fixture::program::Kind;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `connect()` of one IPv4 datagram socket, again and again.
    Probe4,
    /// The same of an IPv6 one.
    Probe6,
    /// `connect()` of a new IPv4 stream socket.
    Connect4,
    /// The same of an IPv6 one.
    Connect6,
    /// `sendto()` of one IPv4 datagram socket.
    Send4,
    /// The same of an IPv6 one.
    Send6,
    /// `socket()` of an IPv4 stream socket.
    Stream,
    /// `socket()` of an IPv4 datagram socket.
    Datagram,
}

impl Call {
    /// All of them.
    pub(super) const ALL: [Self; 8] = [
        Self::Probe4,
        Self::Probe6,
        Self::Connect4,
        Self::Connect6,
        Self::Send4,
        Self::Send6,
        Self::Stream,
        Self::Datagram,
    ];

    /// Where its program is.
    pub(super) fn hook(self) -> Hook {
        let (name, kind, attach_type) = match self {
            Self::Probe4 | Self::Connect4 => ("connect4", Kind::SockAddr, 10),
            Self::Probe6 | Self::Connect6 => ("connect6", Kind::SockAddr, 11),
            Self::Send4 => ("sendmsg4", Kind::SockAddr, 14),
            Self::Send6 => ("sendmsg6", Kind::SockAddr, 15),
            Self::Stream | Self::Datagram => ("sock_create", Kind::Sock, 2),
        };
        Hook {
            name,
            kind,
            attach_type,
        }
    }

    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Probe4 => "UDP connect(), IPv4",
            Self::Probe6 => "UDP connect(), IPv6",
            Self::Connect4 => "TCP connect(), IPv4",
            Self::Connect6 => "TCP connect(), IPv6",
            Self::Send4 => "UDP sendto(), IPv4",
            Self::Send6 => "UDP sendto(), IPv6",
            Self::Stream => "TCP socket()",
            Self::Datagram => "UDP socket()",
        }
    }

    /// Whether it has a destination.
    pub(super) fn is_addressed(self) -> bool {
        !matches!(self, Self::Stream | Self::Datagram)
    }

    pub(super) fn is_v6(self) -> bool {
        matches!(self, Self::Probe6 | Self::Connect6 | Self::Send6)
    }

    /// What makes it to a destination of its family.
    pub(super) fn maker(self, to: SocketAddr) -> Result<Maker> {
        let any: IpAddr = if self.is_v6() {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        Ok(match self {
            Self::Probe4 | Self::Probe6 => Maker::Probe(UdpSocket::bind((any, 0))?, to),
            Self::Send4 | Self::Send6 => Maker::Send(UdpSocket::bind((any, 0))?, to),
            Self::Connect4 | Self::Connect6 => Maker::Connect(to),
            Self::Stream => Maker::Socket(SockType::Stream),
            Self::Datagram => Maker::Socket(SockType::Datagram),
        })
    }
}

/// A call with what it needs.
pub(super) enum Maker {
    Probe(UdpSocket, SocketAddr),
    Send(UdpSocket, SocketAddr),
    Connect(SocketAddr),
    Socket(SockType),
}

impl Maker {
    /// Makes the call so many times, however it ends.
    pub(super) fn make(&self, times: usize) {
        for _ in 0..times {
            match self {
                Self::Probe(socket, to) => drop(socket.connect(to)),
                Self::Send(socket, to) => drop(socket.send_to(b"x", to)),
                // Nobody listens there.
                Self::Connect(to) => drop(TcpStream::connect(to)),
                Self::Socket(kind) => {
                    drop(socket(AddressFamily::Inet, *kind, SockFlag::empty(), None));
                }
            }
        }
    }
}
