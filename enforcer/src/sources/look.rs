//! Checks something repeatedly, after notices and at intervals.
//!
//! **Architecture Invariant:** a notice only causes a check. However many notices arrive, there is one check at a
//! time, and checks take at most a tenth of the time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::Sink;

/// The inverse of the share of time for checks: a process that can cause notices must not keep a processor busy.
const SHARE: u32 = 10;

/// Something to check.
pub(super) trait Scan: Send + 'static {
    /// A change.
    type Change: Send;

    /// What has changed since the last call.
    fn changes(&mut self) -> Vec<Self::Change>;

    /// When to check again without a notice.
    fn rescan(&self) -> Duration;
}

/// Passes changes on until `cancel`. The first batch is always sent and contains everything that exists. `woken`
/// receives the notices.
///
/// # Errors
/// If a check panics.
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

/// Waits for a notice, at most for `rescan`, after a check that began at `start`.
async fn next_look(woken: &mut mpsc::Receiver<()>, start: Instant, rescan: Duration) {
    tokio::time::sleep(pause(start.elapsed(), rescan)).await;
    tokio::select! {
        _ = woken.recv() => {}
        () = tokio::time::sleep(rescan) => {}
    }
}

/// The pause after a check that took this long.
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
