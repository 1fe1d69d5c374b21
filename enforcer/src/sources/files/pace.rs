//! When to look at the files again: at once after an event, and the less often the longer events go on.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{DEBOUNCE, hints::Wake};

/// The shortest pause between two looks...
const SHORTEST: Duration = Duration::from_millis(5);
/// ...and the longest, while something changes all the time.
const LONGEST: Duration = Duration::from_millis(200);

/// The pause between looks. It doubles with each that follows the last one without a rest.
pub(super) struct Pace {
    wake: Arc<Wake>,
    pause: Duration,
}

impl Pace {
    pub(super) fn new(wake: Arc<Wake>) -> Self {
        Self {
            wake,
            pause: SHORTEST,
        }
    }

    /// Waits until `due`, or for an event. An expensive look, which took `cost`, is not repeated at once.
    pub(super) async fn rest(&mut self, mut due: Instant, cost: Duration) {
        let earliest = Instant::now() + self.pause.max(cost.min(LONGEST));
        loop {
            tokio::select! {
                () = sleep_until(due) => break,
                () = self.wake.now.notified() => break,
                () = self.wake.later.notified() => due = due.min(Instant::now() + DEBOUNCE),
            }
        }
        if Instant::now() >= earliest {
            self.pause = SHORTEST;
        } else {
            sleep_until(earliest).await;
            self.pause = (self.pause * 2).min(LONGEST);
        }
    }
}
