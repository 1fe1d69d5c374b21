//! Sockets below IP, which no cgroup program sees.

use std::io;

use super::{
    ClosedBy, Escape, Evidence, escape, kinds,
    stage::{self, Stage},
    sys,
};

const LSM: ClosedBy = ClosedBy::Call("lsm_create");
const ETHERTYPE_IPV4: u16 = 0x0800;
/// Every station of the link.
const EVERYBODY: [u8; 6] = [0xff; 6];

pub(super) static ESCAPES: &[Escape] = &[
    escape("packet socket, raw", LSM, |stage| {
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        send_frame(stage, &socket)
    }),
    escape("packet socket, datagram", LSM, |stage| {
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
        sys::sendto(&socket, &kinds::packet(stage), 0, Some(&link_name()?))
    }),
    escape("packet socket, raw, past the queues", LSM, |stage| {
        const PACKET_QDISC_BYPASS: i32 = 20;
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        sys::setsockopt(
            &socket,
            libc::SOL_PACKET,
            PACKET_QDISC_BYPASS,
            &1_i32.to_ne_bytes(),
        )?;
        send_frame(stage, &socket)
    }),
    escape("packet socket of the old kind", LSM, |stage| {
        const SOCK_PACKET: i32 = 10;
        let protocol = i32::from(ETHERTYPE_IPV4.to_be());
        let socket = sys::socket(libc::AF_INET, SOCK_PACKET, protocol)?;
        let mut to = stage::family(1).to_vec();
        to.extend(stage::DEVICE.as_bytes());
        to.resize(18, 0);
        sys::sendto(&socket, &frame(stage), 0, Some(&to))
    }),
    Escape {
        evidence: Evidence::Success,
        ..escape("xdp socket", LSM, |_| {
            kinds::made(sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0))
        })
    },
    Escape {
        evidence: Evidence::Success,
        ..escape("vsock socket", LSM, |_| {
            kinds::made(sys::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0))
        })
    },
];

pub(super) fn send_frame(stage: &Stage, socket: &std::os::fd::OwnedFd) -> io::Result<()> {
    sys::sendto(socket, &frame(stage), 0, Some(&link_name()?))
}

/// An Ethernet frame with an IPv4 packet.
fn frame(stage: &Stage) -> Vec<u8> {
    let mut bytes = EVERYBODY.to_vec();
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
    bytes.extend(kinds::packet(stage));
    bytes
}

/// `struct sockaddr_ll` of everybody behind the workload's device.
fn link_name() -> io::Result<Vec<u8>> {
    let mut bytes = stage::family(libc::AF_PACKET).to_vec();
    bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
    bytes.extend(stage::device()?.to_ne_bytes());
    bytes.extend([0, 0, 0, 6]);
    bytes.extend(EVERYBODY);
    bytes.extend([0, 0]);
    Ok(bytes)
}
