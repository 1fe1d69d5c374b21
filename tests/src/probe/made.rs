//! Sockets that are connected in an unusual way.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, getsockname, listen,
    setsockopt, socket, sockopt,
};

use crate::fixture::disconnect;

/// Accepts, disconnects what was accepted, and connects that.
pub(super) fn accepted(to: SocketAddr) -> Result<TcpStream> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = listener.local_addr()?.port();
    let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let (accepted, _) = listener.accept()?;
    disconnect(&accepted)?;
    connect(accepted.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(accepted)
}

/// Connects from a port, and listens on it too.
pub(super) fn beside_listener(to: SocketAddr, aside: &mut Vec<OwnedFd>) -> Result<TcpStream> {
    let any: SockaddrStorage = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into();
    let bound = |to: &SockaddrStorage| -> Result<OwnedFd> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        bind(socket.as_raw_fd(), to)?;
        Ok(socket)
    };
    let connection = bound(&any)?;
    let own: SockaddrStorage = getsockname(connection.as_raw_fd())?;
    connect(connection.as_raw_fd(), &SockaddrStorage::from(to))?;
    let port = own.as_sockaddr_in().context("it is bound")?.port();
    let listener = bound(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    listen(&listener, Backlog::new(8)?)?;
    aside.push(listener);
    Ok(connection.into())
}

/// So many connections.
pub(super) fn many(count: usize, to: SocketAddr) -> Result<Vec<TcpStream>> {
    super::raise_files()?;
    (0..count).map(|_| Ok(TcpStream::connect(to)?)).collect()
}

/// Waits until each of them was ended; the errno of the first that was not in time.
pub(super) fn all_ended(sockets: &[TcpStream], patience: Duration) -> Result<i32> {
    let deadline = Instant::now() + patience;
    for mut socket in sockets {
        let rest = deadline.saturating_duration_since(Instant::now());
        // None would be to wait for ever.
        socket.set_read_timeout(Some(rest.max(Duration::from_millis(1))))?;
        let errno = match socket.read(&mut [0]) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or_default(),
        };
        if errno != libc::ECONNABORTED {
            return Ok(errno);
        }
    }
    Ok(libc::ECONNABORTED)
}
