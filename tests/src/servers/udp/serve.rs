//! The servers, a few lines each, as server programs are written.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::Stdio,
    thread,
};

use nix::{
    libc::{in_pktinfo, in6_pktinfo},
    sys::socket::{
        AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage,
        bind, recvmsg, sendmsg, setsockopt, socket, sockopt,
    },
};

use super::CLIENTS;
use crate::{
    probe::HERE,
    servers::{
        process::{command, hand_over, say, take_over},
        sys,
    },
};

/// Names the process that answers for another, in place of a shape.
pub(super) const WORKER: &str = "worker";

/// A socket whose port others may share.
pub(super) fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    Ok(fd.into())
}

fn answer(question: &[u8]) -> Vec<u8> {
    [b"re ", question].concat()
}

/// Takes a question, and says how long it is and whose.
type Take = fn(&UdpSocket, &mut [u8]) -> io::Result<(usize, SocketAddr)>;

/// Answers each question; what one client cannot be answered is no reason to leave the others.
fn each(
    socket: &UdpSocket,
    take: Take,
    mut reply: impl FnMut(&[u8], SocketAddr) -> io::Result<()>,
) -> io::Result<()> {
    let mut question = [0; 64];
    loop {
        let (size, client) = take(socket, &mut question)?;
        if let Err(error) = reply(&answer(&question[..size]), client) {
            say(&format!("answering {client}: {error}"))?;
        }
    }
}

pub(super) fn plain(socket: UdpSocket) -> io::Result<()> {
    each(&socket, UdpSocket::recv_from, |answer, client| {
        socket.send_to(answer, client).map(|_| ())
    })
}

pub(super) fn after_a_look(socket: UdpSocket) -> io::Result<()> {
    let look = |socket: &UdpSocket, question: &mut [u8]| {
        let (_, client) = socket.peek_from(&mut [0; 64])?;
        Ok((socket.recv(question)?, client))
    };
    each(&socket, look, |answer, client| {
        socket.send_to(answer, client).map(|_| ())
    })
}

pub(super) fn by_ring(socket: UdpSocket) -> io::Result<()> {
    each(&socket, UdpSocket::recv_from, |answer, client| {
        sys::sendmsg_by_ring(&socket, answer, &sys::name(client))
    })
}

pub(super) fn in_segments(socket: UdpSocket) -> io::Result<()> {
    each(&socket, UdpSocket::recv_from, |answer, client| {
        let size = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let (data, segments) = (
            [IoSlice::new(answer), IoSlice::new(answer)],
            [ControlMessage::UdpGsoSegments(&size)],
        );
        let client = SockaddrStorage::from(client);
        sendmsg(
            socket.as_raw_fd(),
            &data,
            &segments,
            MsgFlags::empty(),
            Some(&client),
        )?;
        Ok(())
    })
}

pub(super) fn many_at_once(socket: UdpSocket) -> io::Result<()> {
    let mut buffers = [[0_u8; 64]; CLIENTS];
    let mut headers = nix::sys::socket::MultiHeaders::<SockaddrStorage>::preallocate(CLIENTS, None);
    loop {
        let mut parts = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let got = nix::sys::socket::recvmmsg(socket.as_raw_fd(), &mut headers, &mut parts, flags, None)?;
        let got: Vec<_> = got.map(|message| (message.bytes, message.address)).collect();
        let answers: Vec<_> = got
            .iter()
            .zip(&buffers)
            .map(|((size, _), buffer)| answer(&buffer[..*size]))
            .collect();
        let parts: Vec<_> = answers.iter().map(|answer| [IoSlice::new(answer)]).collect();
        let names: Vec<_> = got.iter().map(|(_, name)| *name).collect();
        let mut replies = nix::sys::socket::MultiHeaders::preallocate(names.len(), None);
        let (fd, none) = (socket.as_raw_fd(), [] as [ControlMessage<'_>; 0]);
        let sent = nix::sys::socket::sendmmsg(fd, &mut replies, &parts, &names, none, MsgFlags::empty());
        if let Err(error) = sent.map(Iterator::count) {
            say(&format!("answering several: {error}"))?;
        }
    }
}

/// From which of its addresses a server answers.
enum Own {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

pub(super) fn from_the_asked(socket: UdpSocket) -> io::Result<()> {
    if socket.local_addr()?.is_ipv4() {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    }
    let mut question = [0; 64];
    loop {
        let (size, client, own) = receive_with_own(&socket, &mut question)?;
        let answer = answer(&question[..size]);
        let control = match &own {
            Own::V4(own) => ControlMessage::Ipv4PacketInfo(own),
            Own::V6(own) => ControlMessage::Ipv6PacketInfo(own),
        };
        let (data, flags) = ([IoSlice::new(&answer)], MsgFlags::empty());
        if let Err(error) = sendmsg(socket.as_raw_fd(), &data, &[control], flags, Some(&client)) {
            say(&format!("answering: {error}"))?;
        }
    }
}

fn receive_with_own(socket: &UdpSocket, question: &mut [u8]) -> io::Result<(usize, SockaddrStorage, Own)> {
    let mut space = nix::cmsg_space!(in_pktinfo, in6_pktinfo);
    let mut data = [IoSliceMut::new(question)];
    let flags = MsgFlags::empty();
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let own = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(own) => Some(Own::V4(own)),
        ControlMessageOwned::Ipv6PacketInfo(own) => Some(Own::V6(own)),
        _ => None,
    });
    let missing = || io::Error::other("the kernel does not say where a datagram went");
    let client = message.address.ok_or_else(missing)?;
    Ok((message.bytes, client, own.ok_or_else(missing)?))
}

pub(super) fn workers(socket: UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    let workers: Vec<_> = (0..3)
        .map(|_| open(address).map(|socket| thread::spawn(move || plain(socket))))
        .collect::<io::Result<_>>()?;
    drop(workers);
    plain(socket)
}

pub(super) fn threads(socket: UdpSocket) -> io::Result<()> {
    for _ in 0..3 {
        let shared = socket.try_clone()?;
        thread::spawn(move || plain(shared));
    }
    plain(socket)
}

/// This process takes questions, and another answers.
pub(super) fn by_a_worker(socket: UdpSocket) -> io::Result<()> {
    let (here, there) = UnixStream::pair()?;
    let _worker = command(&std::env::current_exe()?, Path::new(HERE), &["udp", WORKER])
        .stdin(Stdio::from(OwnedFd::from(there)))
        .spawn()?;
    let mut question = [0; 64];
    loop {
        let (size, client) = socket.recv_from(&mut question)?;
        let word = format!("{client} {}", String::from_utf8_lossy(&question[..size]));
        hand_over(&here, &socket, &word)?;
        // The worker's word that it is done: a stream of words has no ends otherwise.
        io::Read::read_exact(&mut &here, &mut [0])?;
    }
}

/// The worker's main.
pub(super) fn work() -> io::Result<()> {
    let from = UnixStream::from(std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?);
    while let Some((socket, word)) = take_over(&from)? {
        let (client, question) = word.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        let client: SocketAddr = client.parse().map_err(io::Error::other)?;
        if let Err(error) = UdpSocket::from(socket).send_to(&answer(question.as_bytes()), client) {
            say(&format!("answering {client}: {error}"))?;
        }
        io::Write::write_all(&mut &from, b".")?;
    }
    Ok(())
}

/// As DTLS servers do: the socket that was asked becomes the client's, and another takes its place.
pub(super) fn connected(mut socket: UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    let mut question = [0; 64];
    loop {
        let (size, client) = socket.recv_from(&mut question)?;
        if let Err(error) = socket.connect(client) {
            say(&format!("connecting to {client}: {error}"))?;
            continue;
        }
        let next = open(address)?;
        socket.send(&answer(&question[..size]))?;
        socket = next;
    }
}

/// As HAProxy's QUIC does: a socket for each client.
pub(super) fn second_socket(socket: UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    each(&socket, UdpSocket::recv_from, |answer, client| {
        let second = open(address)?;
        second.connect(client)?;
        second.send(answer).map(|_| ())
    })
}

pub(super) fn late(socket: UdpSocket) -> io::Result<()> {
    let silence = super::silence().map_err(io::Error::other)?;
    each(&socket, UdpSocket::recv_from, |answer, client| {
        // The silence is what is tried here; nothing is waited for.
        thread::sleep(silence);
        socket.send_to(answer, client).map(|_| ())
    })
}
