//! The tasks of the process, and their end.

use std::{fmt, pin::Pin, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::Signal,
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// For this long, tasks may run after they were told to end.
const DEADLINE: Duration = Duration::from_millis(1500);

/// The task that others ask.
pub(super) const OWNER: &str = "owner";

/// Every task of the process. One that ends, for whatever reason, ends the process with its name.
pub(super) struct Tasks {
    set: JoinSet<Option<Ended>>,
    pub(super) cancel: CancellationToken,
    later: mpsc::Receiver<Task>,
    pub(super) spawner: Spawner,
}

/// A task that may be replaced by another while the process runs: then its token is cancelled.
pub(super) struct Task {
    pub(super) name: &'static str,
    pub(super) token: CancellationToken,
    /// Dropped once the task has ended.
    pub(super) guard: mpsc::Sender<()>,
    pub(super) run: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

/// Starts tasks while others run.
pub(super) type Spawner = mpsc::Sender<Task>;

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
        let (spawner, later) = mpsc::channel(1);
        Self {
            set: JoinSet::new(),
            cancel: CancellationToken::new(),
            later,
            spawner,
        }
    }

    /// Starts a task that may be replaced.
    pub(super) fn start(&mut self, task: Task) {
        let Task {
            name,
            token,
            guard,
            run,
        } = task;
        let cancel = self.cancel.clone();
        self.set.spawn(async move {
            let ended = run.await;
            drop(guard);
            let is_replaced = token.is_cancelled() && !cancel.is_cancelled();
            (!is_replaced).then_some((name, ended))
        });
    }

    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        self.set.spawn(async move { Some((name, task.await)) });
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
        let ended = loop {
            tokio::select! {
                _ = terminate.recv() => break Err("SIGTERM"),
                _ = interrupt.recv() => break Err("SIGINT"),
                Some(task) = self.later.recv() => self.start(task),
                ended = self.set.join_next() => match ended.transpose() {
                    Ok(Some(None)) => {}
                    Ok(ended) => break Ok(ended.flatten().map(Ok)),
                    Err(error) => break Ok(Some(Err(error))),
                },
            }
        };
        match ended {
            Err(signal) => {
                tracing::info!("{signal}: the enforcer ends; {left}");
                self.end(None).await
            }
            Ok(ended) => self.end(ended).await,
        }
    }

    /// Tells all tasks to end, and waits for them until the deadline. `ended` is the one that has ended by itself. If the
    /// owner fails, others may be seen to end first, because they have lost it: then its error is the reason.
    async fn end(mut self, ended: Option<Result<Ended, JoinError>>) -> Result<()> {
        self.cancel.cancel();
        let mut outcome = match ended {
            None => Ok(()),
            Some(Ok((name, result))) => Err(result.err().unwrap_or_else(|| anyhow::anyhow!("it ended")))
                .with_context(|| format!("task {name}")),
            Some(Err(error)) => Err(error).context("a task panicked"),
        };
        let drained = tokio::time::timeout(DEADLINE, async {
            while let Some(ended) = self.set.join_next().await {
                if let (Err(_), Ok(Some((OWNER, Err(reason))))) = (&outcome, ended) {
                    outcome = Err(reason).with_context(|| format!("task {OWNER}"));
                }
            }
        })
        .await;
        if drained.is_err() {
            tracing::warn!(
                "tasks of the enforcer did not end within {DEADLINE:?} and are aborted; pinned programs and maps are \
                 not affected"
            );
        }
        outcome
    }
}
