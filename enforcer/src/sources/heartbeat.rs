//! The channel to which a source sends its findings, and the time of its last check.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

/// Sends a source's findings, and records that it has checked.
#[derive(Debug)]
pub struct Sink<T> {
    changes: mpsc::Sender<T>,
    looked: watch::Sender<Option<Instant>>,
}

/// Gives the time of a source's last check.
#[derive(Clone, Debug)]
pub struct Heartbeat(watch::Receiver<Option<Instant>>);

/// Both ends; the caller keeps the receiver of `changes`.
pub fn sink<T>(changes: mpsc::Sender<T>) -> (Sink<T>, Heartbeat) {
    let (looked, heartbeat) = watch::channel(None);
    (Sink { changes, looked }, Heartbeat(heartbeat))
}

impl<T> Sink<T> {
    /// Records a check now.
    pub(super) fn beat(&self) {
        self.looked.send_replace(Some(Instant::now()));
    }

    /// Sends the findings; returns whether there is a receiver.
    pub(super) async fn send(&self, changes: T) -> bool {
        self.changes.send(changes).await.is_ok()
    }
}

impl Heartbeat {
    /// The time since the last check; None if there was none.
    pub fn age(&self) -> Option<Duration> {
        self.0.borrow().map(|at| at.elapsed())
    }
}
