//! The tasks of the process, and their end.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::Signal,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// For this long, tasks may run after they were told to end.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Every task of the process. One that ends, for whatever reason, ends the process with its name.
pub(super) struct Tasks {
    set: JoinSet<Ended>,
    pub(super) cancel: CancellationToken,
}

/// What stays in force when an enforcer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// What is pinned.
    Enforcement,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing is enforced any more (--ephemeral)",
            Self::Enforcement => {
                "enforcement stays in force, and changes of the registry are not applied until the next start; \
                 `enforcer detach` ends enforcement"
            }
        })
    }
}

/// A task's name, and how it has ended.
type Ended = (&'static str, Result<()>);

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            set: JoinSet::new(),
            cancel: CancellationToken::new(),
        }
    }

    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Waits for SIGTERM, SIGINT or the end of a task, and ends all of them.
    ///
    /// # Errors Why a task has ended by itself.
    pub(super) async fn run(
        mut self,
        mut terminate: Signal,
        mut interrupt: Signal,
        left: Left,
    ) -> Result<()> {
        let ended = tokio::select! {
            _ = terminate.recv() => Err("SIGTERM"),
            _ = interrupt.recv() => Err("SIGINT"),
            ended = self.set.join_next() => Ok(ended),
        };
        match ended {
            Err(signal) => {
                tracing::info!("{signal}: the enforcer ends; {left}");
                self.end(None).await
            }
            Ok(ended) => self.end(ended).await,
        }
    }

    /// Tells all tasks to end, and waits for them until the deadline. `ended` is the one that has ended by itself.
    async fn end(mut self, ended: Option<Result<Ended, JoinError>>) -> Result<()> {
        self.cancel.cancel();
        let outcome = match ended {
            None => Ok(()),
            Some(Ok((name, result))) => Err(result.err().unwrap_or_else(|| anyhow::anyhow!("it ended")))
                .with_context(|| format!("task {name}")),
            Some(Err(error)) => Err(error).context("a task panicked"),
        };
        let drained =
            tokio::time::timeout(DEADLINE, async { while self.set.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(
                "tasks of the enforcer did not end within {DEADLINE:?} and are aborted; pinned programs and maps are \
                 not affected"
            );
        }
        outcome
    }
}
