//! A stream of TCP.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, SyncSender, sync_channel},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result};

use super::{Block, TO};

/// What one write hands over.
const WRITE: usize = 256 << 10;
/// What a block is.
const WRITES: usize = 64;

/// Bytes in a block.
pub(crate) const BLOCK: usize = WRITE * WRITES;

/// Who listens.
pub(crate) struct Receiver(TcpListener);

impl Receiver {
    pub(crate) fn new() -> Result<Self> {
        TcpListener::bind(TO).map(Self).context("listening")
    }

    /// Connects from the cgroup that this process is in. A block is over when all of it has been read.
    pub(crate) fn block(&self) -> Result<Block<'_>> {
        let mut stream = TcpStream::connect(TO).context("connecting")?;
        let (accepted, _) = self.0.accept().context("accepting")?;
        let (sink, done) = sync_channel(1);
        // Ends with the stream.
        thread::spawn(move || drain(accepted, &sink));
        let bytes = vec![0; WRITE];
        Ok(Box::new(move || send(&mut stream, &bytes, &done)))
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8], done: &mpsc::Receiver<()>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..WRITES {
        stream.write_all(bytes).context("sending")?;
    }
    done.recv().context("the receiver has ended")?;
    Ok(start.elapsed().as_secs_f64())
}

fn drain(mut stream: TcpStream, sink: &SyncSender<()>) {
    let mut buffer = vec![0; WRITE];
    let mut left = BLOCK;
    // An error ends the receiver, which the sender is told by the channel's end.
    while let Ok(size @ 1..) = stream.read(&mut buffer[..left.min(WRITE)]) {
        left -= size;
        if left == 0 {
            left = BLOCK;
            if sink.send(()).is_err() {
                return;
            }
        }
    }
}
