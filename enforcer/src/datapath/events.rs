//! What the programs tell, read as it comes.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use enforcer_common::Event;
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

type Log = EbpfLogger<&'static dyn log::Log>;

/// Events, and lines of the programs' own log.
pub struct Events {
    ring: RingBuf<MapData>,
    log: Log,
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, log: Log) -> Self {
        Self { ring, log }
    }

    /// Hands on events until nobody takes them any more. While `sink` is full they wait in the ring buffer; what
    /// does not fit that is counted there.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn run(self, sink: mpsc::Sender<Event>) -> Result<()> {
        let mut ring = readable(self.ring)?;
        let mut log = readable(self.log)?;
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let mut ready = ready.context(WAITING)?;
                    while let Some(event) = next(ready.get_inner_mut()) {
                        if sink.send(event).await.is_err() {
                            return Ok(());
                        }
                    }
                    ready.clear_ready();
                }
                ready = log.readable_mut() => {
                    let mut ready = ready.context(WAITING)?;
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                () = sink.closed() => return Ok(()),
            }
        }
    }
}

const WAITING: &str = "waiting for the programs' events";

#[expect(
    unsafe_code,
    reason = "tokio leaves it to the caller that the descriptor stays the same"
)]
fn readable<T: AsFd + AsRawFd>(source: T) -> Result<AsyncFd<T>> {
    // SAFETY: both kinds of source own one map, whose descriptor they give at every call, for as long as they live.
    unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }
        .map_err(std::io::Error::from)
        .context(WAITING)
}

/// The next whole event; an entry that is none was written by another layout's program and is left out.
fn next(ring: &mut RingBuf<MapData>) -> Option<Event> {
    loop {
        let entry = ring.next()?;
        match Event::from_bytes(&entry) {
            Some(event) => return Some(event),
            None => tracing::warn!("the programs wrote {} bytes that are no event", entry.len()),
        }
    }
}
