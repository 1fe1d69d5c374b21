//! Who answers at the far end of each cable: for each processor a server of its own, which answers one client after the
//! other, and a stranger that nobody is allowed to call.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    thread,
};

use anyhow::{Context as _, Result};

use super::cpus::{Cpu, pin};
use crate::{
    servers::networks::Networks,
    stream::{FROM, TO},
};

/// Ports that are allowed: as many processors are used at most.
pub(super) const PORTS: u16 = 16;

/// Who may not be called.
pub(super) const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 7, 9)), TO.port());

/// The server on a processor.
pub(super) fn server(cpu: usize) -> SocketAddr {
    let index = u16::try_from(cpu).expect("there are at most as many as ports");
    SocketAddr::new(TO.ip(), TO.port() + index)
}

/// Gives both ends of the cable their addresses, with the stranger behind it.
pub(super) fn address(networks: &Networks, cpu: Cpu) -> Result<()> {
    networks.add(FROM, TO.ip())?;
    networks.add_at_client(STRANGER.ip())?;
    networks.at_client(|| listen(STRANGER, cpu))
}

/// Starts a server for each processor; they end with this process.
pub(super) fn start(networks: &Networks, cpus: &[Cpu]) -> Result<()> {
    networks.at_client(|| {
        cpus.iter()
            .enumerate()
            .try_for_each(|(index, &cpu)| listen(server(index), cpu))
    })
}

/// Answers what comes to an address, on one processor.
fn listen(at: SocketAddr, cpu: Cpu) -> Result<()> {
    let listener = TcpListener::bind(at).with_context(|| format!("listening at {at}"))?;
    let socket = UdpSocket::bind(at).with_context(|| format!("binding {at}"))?;
    // They end where nothing can be received or sent; who asks notices.
    thread::spawn(move || {
        if pin(&[cpu]).is_ok() {
            streams(&listener);
        }
    });
    thread::spawn(move || {
        if pin(&[cpu]).is_ok() {
            datagrams(&socket);
        }
    });
    Ok(())
}

fn streams(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut buffer = [0; 64];
        while let Ok(size @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..size]).is_err() {
                break;
            }
        }
    }
}

fn datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 64];
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        // To who has gone meanwhile nothing can be sent.
        socket.send_to(&buffer[..size], from).ok();
    }
}
