//! Bursts of UDP, in segments that the kernel cuts as late as it can (GSO), as QUIC sends them, or one by one, large or
//! small.

use std::{io::ErrorKind, net::UdpSocket, time::Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::{Block, FROM, TO};

/// What fits the packets of most networks.
const SEGMENT: u16 = 1400;
/// Segments in one call: as many as fit an IP packet.
const SEGMENTS: usize = 46;
/// Calls in a block: the receiver's buffer holds what they send.
const CALLS: usize = 16;
/// What a small datagram carries.
const SMALL: usize = 64;
const BUFFER: usize = 16 << 20;

/// What one call sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Segmented,
    Single,
    Small,
}

/// Who is sent to.
pub(super) struct Receiver(UdpSocket);

impl Receiver {
    pub(super) fn new() -> Result<Self> {
        let socket = UdpSocket::bind(TO).context("binding")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).context("enlarging the buffer")?;
        Ok(Self(socket))
    }

    /// Connects from the cgroup that this process is in. A block is over when the receiver's buffer holds it; it is
    /// emptied on nobody's time.
    pub(super) fn block(&self, size: Size) -> Result<Block<'_>> {
        let sender = UdpSocket::bind((FROM, 0)).context("binding")?;
        sender.connect(TO).context("connecting")?;
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
        let packets = CALLS * SEGMENTS;
        let total = match size {
            Size::Small => packets * SMALL,
            Size::Single | Size::Segmented => packets * usize::from(SEGMENT),
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
