//! Looks again and again at something of which notices come.
//!
//! **Architecture Invariant:** a notice is only ever a reason to look. However many come, one look at a time is made, and
//! looks take a tenth of the time at most.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::Sink;

/// How much of the time may go into looking, as its inverse: whoever can cause notices must not keep a processor busy.
const SHARE: u32 = 10;

/// What is looked at.
pub(super) trait Scan: Send + 'static {
    /// What can change.
    type Change: Send;

    /// What has changed since the last call.
    fn changes(&mut self) -> Vec<Self::Change>;

    /// When to look again without a notice.
    fn rescan(&self) -> Duration;
}

/// Hands on what changes, until `cancel`. The first batch is sent in any case and holds what is there. `woken` has a
/// notice.
///
/// # Errors
/// If looking panics.
pub(super) async fn follow<S: Scan>(
    mut scan: S,
    mut woken: mpsc::Receiver<()>,
    sink: Sink<Vec<S::Change>>,
    cancel: CancellationToken,
) -> Result<()> {
    let mut is_first = true;
    loop {
        let start = Instant::now();
        let looking = tokio::task::spawn_blocking(move || {
            let changes = scan.changes();
            (scan, changes)
        });
        let changes;
        (scan, changes) = looking.await.context("looking at cgroups")?;
        sink.beat();
        if (is_first || !changes.is_empty()) && !sink.send(changes).await {
            return Ok(());
        }
        is_first = false;
        tokio::select! {
            () = next_look(&mut woken, start, scan.rescan()) => {}
            () = cancel.cancelled() => return Ok(()),
        }
    }
}

/// Waits for a notice, at most for `rescan`, once a look has ended that began at `start`.
async fn next_look(woken: &mut mpsc::Receiver<()>, start: Instant, rescan: Duration) {
    tokio::time::sleep(pause(start.elapsed(), rescan)).await;
    tokio::select! {
        _ = woken.recv() => {}
        () = tokio::time::sleep(rescan) => {}
    }
}

/// How long nothing is looked at after a look that took so long.
fn pause(look: Duration, rescan: Duration) -> Duration {
    (look * (SHARE - 1)).min(rescan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_without_end_leave_most_of_the_time_to_others() {
        let rescan = Duration::from_secs(2);
        for look in [1, 10, 100].map(Duration::from_millis) {
            assert_eq!(look + pause(look, rescan), look * SHARE);
        }
        assert_eq!(pause(rescan, rescan), rescan, "changes are found in the end");
    }
}
