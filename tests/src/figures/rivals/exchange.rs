//! One short exchange, many times.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// After which somebody is refused.
const REFUSED: Duration = Duration::from_millis(200);

/// A kind of exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A socket, `connect`, a byte there and back, the end.
    Tcp,
    /// `connect` of a socket that there is already: nothing is sent.
    UdpConnect,
    /// A socket, `connect`, a byte there and back, the end.
    Udp,
}

/// How long each took, in microseconds, and all of them, in seconds.
pub(super) struct Block {
    pub(super) each: Vec<f64>,
    pub(super) seconds: f64,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Tcp, Self::UdpConnect, Self::Udp];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP connect and byte",
            Self::UdpConnect => "UDP connect()",
            Self::Udp => "UDP connect and byte",
        }
    }

    /// From the cgroup that this process is in, in this thread's network.
    pub(super) fn block(self, to: SocketAddr, count: usize) -> Result<Block> {
        let lasting = datagrams()?;
        let once = || match self {
            Self::Tcp => tcp(to, PATIENCE),
            Self::UdpConnect => lasting.connect(to).context("connecting"),
            Self::Udp => udp(to),
        };
        // What another subject has left in the caches is nobody's cost.
        for _ in 0..count.div_ceil(10) {
            once()?;
        }
        let mut each = Vec::with_capacity(count);
        let begin = Instant::now();
        let mut last = begin;
        for _ in 0..count {
            once()?;
            let now = Instant::now();
            each.push((now - last).as_secs_f64() * 1e6);
            last = now;
        }
        let seconds = (last - begin).as_secs_f64();
        Ok(Block { each, seconds })
    }
}

/// Whether somebody does not answer at all.
pub(super) fn is_refused(to: SocketAddr) -> bool {
    tcp(to, REFUSED).is_err()
}

fn tcp(to: SocketAddr, patience: Duration) -> Result<()> {
    let mut stream = if patience == PATIENCE {
        TcpStream::connect(to)
    } else {
        TcpStream::connect_timeout(&to, patience)
    }
    .with_context(|| format!("connecting to {to}"))?;
    if patience != PATIENCE {
        stream.set_read_timeout(Some(patience))?;
    }
    // No port is left waiting, of which there are not enough.
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &at_once)?;
    stream.write_all(&[7]).context("sending")?;
    let mut answer = [0];
    stream.read_exact(&mut answer).context("no answer")?;
    ensure!(answer == [7], "another answer");
    Ok(())
}

fn datagrams() -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("binding")
}

fn udp(to: SocketAddr) -> Result<()> {
    let socket = datagrams()?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to).context("connecting")?;
    socket.send(&[7]).context("sending")?;
    let mut answer = [0];
    socket.recv(&mut answer).context("no answer")?;
    ensure!(answer == [7], "another answer");
    Ok(())
}
