//! Bursts of UDP, in segments that the kernel cuts as late as it can (GSO), as QUIC sends them, or one by one, large or
//! small.

use std::{
    io::ErrorKind,
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::{Block, FROM, TO};

/// What fits the packets of most networks.
const SEGMENT: u16 = 1400;
/// Segments in one call: as many as fit an IP packet.
const SEGMENTS: usize = 46;
/// Calls in a block: the receiver's buffer holds what they send.
const CALLS: usize = 16;
/// Datagrams in a block.
pub(crate) const PACKETS: usize = CALLS * SEGMENTS;
/// What a small datagram carries.
const SMALL: usize = 64;
const BUFFER: usize = 16 << 20;
/// How long a greeting may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What one call sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Segmented,
    Single,
    Small,
}

/// Who is sent to.
pub(crate) struct Receiver(UdpSocket);

impl Receiver {
    pub(crate) fn new() -> Result<Self> {
        let socket = UdpSocket::bind(TO).context("binding")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarging the buffer")?;
        Ok(Self(socket))
    }

    /// Connects from the cgroup that this process is in. A block is over when the receiver's buffer holds it; it is
    /// emptied on nobody's time.
    pub(crate) fn block(&self, size: Size) -> Result<Block<'_>> {
        let sender = UdpSocket::bind((FROM, 0)).context("binding")?;
        sender.connect(TO).context("connecting")?;
        greet(&sender, &self.0)?;
        let length = match size {
            Size::Single => usize::from(SEGMENT),
            Size::Small => SMALL,
            Size::Segmented => {
                setsockopt(&sender, sockopt::UdpGsoSegment, &i32::from(SEGMENT))
                    .context("asking for segments")?;
                usize::from(SEGMENT) * SEGMENTS
            }
        };
        let bytes = vec![0; length];
        let total = match size {
            Size::Small => PACKETS * SMALL,
            Size::Single | Size::Segmented => PACKETS * usize::from(SEGMENT),
        };
        Ok(Box::new(move || {
            let start = Instant::now();
            for _ in 0..total / length {
                sender.send(&bytes).context("sending")?;
            }
            let seconds = start.elapsed().as_secs_f64();
            let came = drain(&self.0)?;
            ensure!(came == total, "{came} bytes have come of {total}");
            Ok(seconds)
        }))
    }
}

/// A datagram there and back: to who tracks connections, what follows belongs to a known one.
fn greet(sender: &UdpSocket, receiver: &UdpSocket) -> Result<()> {
    sender.set_read_timeout(Some(PATIENCE))?;
    sender.send(&[0]).context("greeting")?;
    let (mut buffer, deadline) = ([0], Instant::now() + PATIENCE);
    let from = loop {
        match receiver.recv_from(&mut buffer) {
            Ok((_, from)) => break from,
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::yield_now();
            }
            Err(error) => return Err(error).context("no greeting has come"),
        }
    };
    receiver.send_to(&buffer, from).context("greeting back")?;
    sender.recv(&mut buffer).context("no greeting has come back")?;
    Ok(())
}

fn drain(receiver: &UdpSocket) -> Result<usize> {
    let mut buffer = vec![0; 1 << 16];
    let mut came = 0;
    loop {
        match receiver.recv(&mut buffer) {
            Ok(size) => came += size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(came),
            Err(error) => return Err(error).context("receiving"),
        }
    }
}
