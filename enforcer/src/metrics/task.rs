//! The task: takes over what was counted of workloads that are gone, and writes the text when somebody asks.
//!
//! It must never ask the owner more often than twice a second, whoever asks it how often.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use hyper::body::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    task::block_in_place,
};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::Ledger,
    told::{Moment, release},
    verdicts::Counting,
};
use crate::{
    control::Ports,
    datapath::{Costs, VerdictCounts},
};

/// For so long, a text is shown again.
const PERIOD: Duration = Duration::from_millis(500);

/// How long the enforcer may take to say how it stands; it takes longer only where it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long what has failed waits, and the least time between two times at which numbers are taken over.
const PAUSE: Duration = Duration::from_secs(1);

/// What the task is made of.
pub(crate) struct Metrics {
    pub(crate) counts: VerdictCounts,
    pub(crate) costs: Costs,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) ports: Ports,
    /// Where numbers are kept for the next start; None without pins.
    pub(crate) file: Option<PathBuf>,
    /// Who asks for the text.
    pub(crate) asked: mpsc::Receiver<oneshot::Sender<Result<Bytes, String>>>,
}

impl Metrics {
    /// Until `cancel`.
    ///
    /// # Errors
    /// None: a task ends by its error.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<()> {
        let Self {
            counts,
            costs,
            ledger,
            ports,
            file,
            mut asked,
        } = self;
        let mut counting = Counting::new(counts, Arc::clone(&ledger), file);
        let kernel = release();
        let mut last: Option<(Instant, Result<Bytes, String>)> = None;
        let mut due = Instant::now();
        let (mut waits, mut is_open) = (true, true);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = ledger.changed() => waits = true,
                () = tokio::time::sleep_until(due.into()), if waits => {
                    waits = false;
                    due = Instant::now() + PAUSE;
                    match block_in_place(|| counting.settle()) {
                        Ok(None) => {}
                        Ok(Some(next)) => (due, waits) = (due.max(next), true),
                        Err(error) => {
                            tracing::debug!("numbers of workloads that are gone are not taken yet: {error:#}");
                            waits = true;
                        }
                    }
                }
                question = asked.recv(), if is_open => {
                    let Some(reply) = question else {
                        is_open = false;
                        continue;
                    };
                    let text = match &last {
                        Some((when, text)) if when.elapsed() < PERIOD => text.clone(),
                        _ => {
                            let text = text(&ports, &mut counting, (&ledger, &costs, &kernel)).await;
                            let text = text.map_err(|error| format!("{error:#}"));
                            last = Some((Instant::now(), text.clone()));
                            text
                        }
                    };
                    // Who does not wait any more has a reason.
                    drop(reply.send(text));
                }
            }
        }
    }
}

async fn text(
    ports: &Ports,
    counting: &mut Counting,
    (ledger, costs, kernel): (&Ledger, &Costs, &str),
) -> Result<Bytes> {
    let status = tokio::time::timeout(PATIENCE, ports.gather()).await;
    let status =
        status.with_context(|| format!("the enforcer does not say within {PATIENCE:?} how it stands"))??;
    block_in_place(|| {
        let verdicts = counting.all()?;
        let suppressed = ledger.book().suppressed.clone();
        let moment = Moment {
            status: &status,
            verdicts,
            suppressed,
            costs,
            kernel,
        };
        Ok(Bytes::from(moment.told().text()?))
    })
}
