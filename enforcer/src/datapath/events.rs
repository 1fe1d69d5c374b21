//! What the programs tell, read as it comes.
//!
//! The ring buffer is shared by all workloads, so that it is emptied whatever the reader of the events does; what
//! waits for that one waits by workload, each with a share.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use enforcer_common::{CgroupId, Event, Share};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use crate::turns::{Shares, Turns};

type Log = EbpfLogger<&'static dyn log::Log>;

/// Events, and lines of the programs' own log.
pub struct Events {
    ring: RingBuf<MapData>,
    log: Log,
}

/// Events in turns of their workloads, few enough to be told of at one time.
#[derive(Debug, Default)]
pub struct Batch {
    /// At most [`Batch::MOST`].
    pub events: Vec<Event>,
    /// How many are left out, of workloads of which too many waited. By [`sharer`].
    pub left_out: BTreeMap<CgroupId, u64>,
}

impl Batch {
    /// Events in one.
    pub const MOST: usize = 64;
}

/// Events that wait: some 5 MB at most.
const WAITING: Shares = Shares { all: 8192, one: 512 };

/// Events that are read before anything else has a turn.
const ROUND: usize = 1024;

/// Whose share an event is told from. All workloads that are not known have one together: whoever can make cgroups there
/// would have a share in each.
pub fn sharer(event: &Event) -> CgroupId {
    if event.policy.0 == 0 {
        Share::UNKNOWN
    } else {
        event.cgroup
    }
}

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, log: Log) -> Self {
        Self { ring, log }
    }

    /// Hands on events until nobody takes them any more. What does not fit the ring buffer is counted there.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn run(self, sink: mpsc::Sender<Batch>) -> Result<()> {
        let mut ring = readable(self.ring)?;
        let mut log = readable(self.log)?;
        let mut waiting = Turns::new(WAITING);
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let mut ready = ready.context(READING)?;
                    if !read(ready.get_inner_mut(), &mut waiting) {
                        ready.clear_ready();
                    }
                }
                ready = log.readable_mut() => {
                    let mut ready = ready.context(READING)?;
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                permit = sink.reserve(), if !waiting.is_empty() => match permit {
                    Ok(permit) => permit.send(batch(&mut waiting)),
                    Err(_) => return Ok(()),
                },
                () = sink.closed() => return Ok(()),
            }
        }
    }
}

const READING: &str = "waiting for the programs' events";

#[expect(
    unsafe_code,
    reason = "tokio leaves it to the caller that the descriptor stays the same"
)]
fn readable<T: AsFd + AsRawFd>(source: T) -> Result<AsyncFd<T>> {
    // SAFETY: both kinds of source own one map, whose descriptor they give at every call, for as long as they live.
    unsafe { AsyncFd::register_with_interest(source, Interest::READABLE) }
        .map_err(std::io::Error::from)
        .context(READING)
}

/// Takes events out of the ring buffer; whether there may be more.
fn read(ring: &mut RingBuf<MapData>, waiting: &mut Turns<CgroupId, Event>) -> bool {
    for _ in 0..ROUND {
        match next(ring) {
            Some(event) => waiting.push(sharer(&event), event),
            None => return false,
        }
    }
    true
}

fn batch(waiting: &mut Turns<CgroupId, Event>) -> Batch {
    let turns = std::iter::from_fn(|| waiting.pop());
    Batch {
        events: turns.take(Batch::MOST).map(|(_, event)| event).collect(),
        left_out: waiting.take_left_out(),
    }
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
