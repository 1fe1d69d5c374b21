//! Where a source sends what it finds, and when it last looked.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

/// Where a source sends what it finds, and says that it has looked.
#[derive(Debug)]
pub struct Sink<T> {
    changes: mpsc::Sender<T>,
    looked: watch::Sender<Option<Instant>>,
}

/// Knows when a source has last looked.
#[derive(Clone, Debug)]
pub struct Heartbeat(watch::Receiver<Option<Instant>>);

/// Both ends, and the other end of `changes` is with who made them.
pub fn sink<T>(changes: mpsc::Sender<T>) -> (Sink<T>, Heartbeat) {
    let (looked, heartbeat) = watch::channel(None);
    (Sink { changes, looked }, Heartbeat(heartbeat))
}

impl<T> Sink<T> {
    /// It has looked now.
    pub(super) fn beat(&self) {
        self.looked.send_replace(Some(Instant::now()));
    }

    /// Sends what it has found; whether anybody takes it.
    pub(super) async fn send(&self, changes: T) -> bool {
        self.changes.send(changes).await.is_ok()
    }
}

impl Heartbeat {
    /// How long ago; None if it never has.
    pub fn age(&self) -> Option<Duration> {
        self.0.borrow().map(|at| at.elapsed())
    }
}
