//! Reads the programs' events as they arrive.
//!
//! All workloads share the ring buffer, so that it is emptied even if the reader of the events is slow; what waits
//! for the reader is queued by workload, with a limit for each.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use enforcer_common::{CgroupId, Event};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{attention::Attention, decision::Decision};
use crate::turns::{Shares, Turns};

type Log = EbpfLogger<&'static dyn log::Log>;

/// Events, and lines of the programs' own log.
pub struct Events {
    ring: RingBuf<MapData>,
    attention: Attention,
    log: Log,
}

/// Decisions in turn by workload, few enough to report at one time.
#[derive(Debug, Default)]
pub struct Batch {
    /// At most [`Batch::MOST`].
    pub decisions: Vec<Decision>,
    /// How many were dropped, for workloads with too many waiting. By [`Decision::sharer`].
    pub left_out: BTreeMap<CgroupId, u64>,
    /// How many events this version does not understand: newer programs have written them.
    pub unknown: u64,
}

impl Batch {
    /// The most events in one batch.
    pub const MOST: usize = 64;
}

/// Limits on waiting events: some 5 MB at most.
const WAITING: Shares = Shares { all: 8192, one: 512 };

/// Events that are read before other tasks get a turn.
const ROUND: usize = 1024;

impl Events {
    pub(super) fn new(ring: RingBuf<MapData>, attention: Attention, log: Log) -> Self {
        Self { ring, attention, log }
    }

    /// Passes events on until the receiver is closed. Events that do not fit the ring buffer are counted there.
    ///
    /// # Errors
    /// If the ring buffer cannot be waited for.
    pub async fn run(self, sink: mpsc::Sender<Batch>) -> Result<()> {
        let mut attention = self.attention;
        let look = sleep(attention.pause());
        tokio::pin!(look);
        let mut ring = readable(self.ring)?;
        let mut log = readable(self.log)?;
        let mut waiting = Waiting {
            decisions: Turns::new(WAITING),
            unknown: 0,
        };
        loop {
            tokio::select! {
                ready = ring.readable_mut() => {
                    let mut ready = ready.context(READING)?;
                    let events = read(ready.get_inner_mut(), &mut waiting);
                    if events < ROUND {
                        ready.clear_ready();
                    }
                    let pause = if attention.note(events)? { Duration::ZERO } else { attention.pause() };
                    look.as_mut().reset(Instant::now() + pause);
                }
                () = &mut look => {
                    let events = read(ring.get_mut(), &mut waiting);
                    let again = attention.note(events)? || events == ROUND;
                    let pause = if again { Duration::ZERO } else { attention.pause() };
                    look.as_mut().reset(Instant::now() + pause);
                }
                ready = log.readable_mut() => {
                    let mut ready = ready.context(READING)?;
                    ready.get_inner_mut().flush();
                    ready.clear_ready();
                }
                permit = sink.reserve(), if !waiting.is_empty() => match permit {
                    Ok(permit) => permit.send(waiting.batch()),
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

/// Takes events out of the ring buffer, and returns how many; if [`ROUND`], there may be more.
fn read(ring: &mut RingBuf<MapData>, waiting: &mut Waiting) -> usize {
    let mut events = 0;
    while events < ROUND
        && let Some(entry) = ring.next()
    {
        waiting.push(&entry);
        events += 1;
    }
    events
}

/// Events that wait for the reader.
struct Waiting {
    decisions: Turns<CgroupId, Decision>,
    unknown: u64,
}

impl Waiting {
    fn push(&mut self, entry: &[u8]) {
        match Event::from_bytes(entry).map(|event| Decision::try_from(&event)) {
            Some(Ok(decision)) => self.decisions.push(decision.sharer(), decision),
            Some(Err(_)) | None => self.unknown += 1,
        }
    }

    fn is_empty(&self) -> bool {
        self.decisions.is_empty() && self.unknown == 0
    }

    fn batch(&mut self) -> Batch {
        let turns = std::iter::from_fn(|| self.decisions.pop());
        Batch {
            decisions: turns.take(Batch::MOST).map(|(_, decision)| decision).collect(),
            left_out: self.decisions.take_left_out(),
            unknown: std::mem::take(&mut self.unknown),
        }
    }
}
