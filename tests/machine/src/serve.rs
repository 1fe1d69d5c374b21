//! Servers on every port of a range: each connection and each datagram becomes a line of a file.
//!
//! The line is written before anything is answered: whoever has its answer can count on it.

use std::{
    env,
    error::Error,
    fs::{File, OpenOptions},
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    sync::Arc,
    thread,
};

/// What every client is told.
const ANSWER: &[u8] = b"ok\n";

/// Serves until it is ended. `ports` are `FIRST-LAST`.
pub(crate) fn run(file: &str, ports: &str, addresses: &[&str]) -> Result<(), Box<dyn Error>> {
    let file = Arc::new(OpenOptions::new().create(true).append(true).open(file)?);
    let (first, last) = ports.split_once('-').ok_or("ports are FIRST-LAST")?;
    let (first, last): (u16, u16) = (first.parse()?, last.parse()?);
    let mut threads = Vec::new();
    for address in addresses {
        let address: IpAddr = address.parse()?;
        for port in first..=last {
            let listener = TcpListener::bind((address, port))?;
            let socket = UdpSocket::bind((address, port))?;
            let (tcp, udp) = (Arc::clone(&file), Arc::clone(&file));
            threads.push(thread::spawn(move || accept(&listener, &tcp)));
            threads.push(thread::spawn(move || receive(&socket, &udp)));
        }
    }
    announce()?;
    for thread in threads {
        thread.join().map_err(|_| "a server has ended")??;
    }
    Ok(())
}

/// Tells systemd that all of them listen.
fn announce() -> std::io::Result<()> {
    match env::var_os("NOTIFY_SOCKET") {
        Some(socket) => UnixDatagram::unbound()?.send_to(b"READY=1", socket).map(|_| ()),
        None => Ok(()),
    }
}

fn accept(listener: &TcpListener, file: &File) -> std::io::Result<()> {
    let here = listener.local_addr()?;
    loop {
        let (mut stream, peer) = listener.accept()?;
        note(file, "tcp", here, peer)?;
        // A client that has gone was counted all the same.
        stream.write_all(ANSWER).ok();
    }
}

fn receive(socket: &UdpSocket, file: &File) -> std::io::Result<()> {
    let here = socket.local_addr()?;
    loop {
        let (_, peer) = socket.recv_from(&mut [0; 64])?;
        note(file, "udp", here, peer)?;
        socket.send_to(ANSWER, peer).ok();
    }
}

/// One write, so that lines of several servers do not mix.
fn note(mut file: &File, transport: &str, here: SocketAddr, peer: SocketAddr) -> std::io::Result<()> {
    file.write_all(format!("{transport} {here} from {peer}\n").as_bytes())
}
