//! Packets whose sender is anybody.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Result, bail};

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
pub(super) fn send_raw(packet: &[u8], to: Ipv4Addr) -> Result<()> {
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
        name.sin_family = libc::sa_family_t::try_from(libc::AF_INET)?;
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
