//! How often something is looked at of which notices come.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

/// How much of the time may go into looking, as its inverse: whoever can cause notices must not keep a processor busy.
const SHARE: u32 = 10;

/// Waits for a notice, at most for `rescan`, once a look has ended that began at `start`.
pub(super) async fn next_look(woken: &mut mpsc::Receiver<()>, start: Instant, rescan: Duration) {
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
