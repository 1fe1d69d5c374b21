//! Answers from which nothing is learned.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Result, bail, ensure};

use super::{
    message::{self, Record},
    stage::{HOST, LOCAL, RESOLVER, STRANGER, Stage},
};
use crate::servers::networks::{SERVER4, UPSTREAM4};

type Way = fn(&mut Stage<'_>) -> Result<()>;

pub(super) const WAYS: [(&str, Way); 15] = [
    ("from another server", by_stranger),
    ("from another port of the resolver", by_port),
    ("to another socket's question", to_another_socket),
    ("with another number", by_number),
    ("with another name in the question", by_name),
    ("with another type in the question", by_type),
    ("to a socket that has not asked", unasked),
    ("a second time", twice),
    ("with a number that was answered before", old),
    ("for another owner beside the right one", beside),
    ("in the additional section", additional),
    ("by a raw socket on the loopback device", by_raw_socket),
    (
        "from another workload that plays the resolver of this machine",
        by_another_workload,
    ),
    ("from the workload itself", by_itself),
    ("by a device of the workload's own", by_device),
];

fn by_stranger(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let stranger = stage.at(STRANGER)?;
    let answer = stage.answer();
    stage.send(&stranger, socket, &answer)
}

fn by_port(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let other = stage.at((UPSTREAM4, 54).into())?;
    let answer = stage.answer();
    stage.send(&other, socket, &answer)
}

fn to_another_socket(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (_socket, server) = stage.ask()?;
    let another = message::question(0x7777, "b.example.com", 1);
    let other = stage.asker.udp(RESOLVER, &another)?;
    let answer = stage.answer();
    stage.send(&server, other, &answer)
}

fn by_number(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut answer = stage.answer();
    answer[0] ^= 0x40;
    stage.send(&server, socket, &answer)
}

fn by_name(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut other = message::question(0, "b.example.com", 1);
    other[..2].copy_from_slice(&stage.question()[..2]);
    let answer = message::answer(&other, &[Record::address("b.example.com", address)], &[]);
    stage.send(&server, socket, &answer)
}

fn by_type(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut answer = stage.answer();
    let kind = stage.question().len() - 3;
    answer[kind] = 28;
    stage.send(&server, socket, &answer)
}

fn unasked(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let server = stage.at(RESOLVER)?;
    let socket = stage.asker.udp(RESOLVER, b"not a question")?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn twice(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200)));
    let right = message::answer(&stage.question(), &[right], &[]);
    stage.send(&server, socket, &right)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn old(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 201)));
    let right = message::answer(&stage.question(), &[right], &[]);
    stage.send(&server, socket, &right)?;
    let next = message::question(0x6666, HOST, 1);
    stage.asker.again(socket, RESOLVER, &next)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn beside(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let records = [
        Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 202))),
        Record::address("b.example.com", address),
    ];
    let answer = message::answer(&stage.question(), &records, &[]);
    stage.send(&server, socket, &answer)
}

fn additional(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 203)));
    let answer = message::answer(&stage.question(), &[right], &[Record::address(HOST, address)]);
    stage.send(&server, socket, &answer)
}

/// What was asked by a cable is not answered by the loopback device.
fn by_raw_socket(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let answer = stage.answer();
    send_raw(
        &datagram(RESOLVER, (SERVER4, socket.port).into(), &answer)?,
        SERVER4,
    )?;
    stage.asker.receive(socket)
}

fn by_another_workload(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = stage.question();
    let socket = stage.asker.udp(LOCAL, &question)?;
    let answer = stage.answer();
    let sent = stage
        .other
        .udp_from(LOCAL, (Ipv4Addr::LOCALHOST, socket.port).into(), &answer);
    ensure!(sent.is_err(), "it could answer");
    Ok(())
}

fn by_itself(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = stage.question();
    let socket = stage.asker.udp(LOCAL, &question)?;
    let answer = stage.answer();
    let sent = stage
        .asker
        .udp_from(LOCAL, (Ipv4Addr::LOCALHOST, socket.port).into(), &answer);
    ensure!(sent.is_err(), "it could answer");
    Ok(())
}

/// It makes a device, and says by it what it likes: in a network of its own, which it needs no privilege to have.
fn by_device(stage: &mut Stage<'_>) -> Result<()> {
    if !Path::new("/dev/net/tun").exists() {
        return Ok(());
    }
    stage.fresh();
    let (question, answer) = (stage.question(), stage.answer());
    let mut asker = stage.another_asker()?;
    asker.tunnel((SERVER4.into(), RESOLVER), &question, &answer)?;
    ensure!(
        !asker.connects((stage.address(), 443).into())?,
        "it is allowed there"
    );
    Ok(())
}

/// A packet of UDP over IPv4 whose sender is anybody. Its checksum is left out.
pub(super) fn datagram(from: SocketAddr, to: SocketAddr, message: &[u8]) -> Result<Vec<u8>> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
        bail!("for IPv4 alone");
    };
    let length = u16::try_from(28 + message.len())?;
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let words = header
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(u16::MAX);
    header[10..12].copy_from_slice(&(!sum).to_be_bytes());
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend((length - 20).to_be_bytes());
    header.extend([0, 0]);
    header.extend(message);
    Ok(header)
}

/// Sends a packet as it is.
fn send_raw(packet: &[u8], to: Ipv4Addr) -> Result<()> {
    #[expect(unsafe_code, reason = "the standard library has no raw sockets")]
    // SAFETY: the calls take integers and a buffer with its length.
    unsafe {
        let socket = libc::socket(
            libc::AF_INET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::IPPROTO_RAW,
        );
        if socket < 0 {
            return Err(io::Error::last_os_error().into());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut name: libc::sockaddr_in = std::mem::zeroed();
        name.sin_family = libc::AF_INET as u16;
        name.sin_addr.s_addr = u32::from_ne_bytes(to.octets());
        let sent = libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const name).cast(),
            u32::try_from(size_of::<libc::sockaddr_in>())?,
        );
        if sent < 0 {
            return Err(io::Error::last_os_error().into());
        }
    }
    Ok(())
}
