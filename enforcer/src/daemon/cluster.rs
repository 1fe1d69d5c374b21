//! The API server's objects on their way to the owner.

use std::time::Duration;

use anyhow::Result;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    BACKLOG,
    inputs::{Change, Inputs},
    owner::Owner,
};
use crate::{
    report::notice::Notice,
    sources::kube::{self, KubeChange, KubeStatus},
};

/// After this long without the first lists it is said that a start waits for them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The owner's ends of what connects it with the API server's task.
pub(super) struct Cluster {
    pub(super) changes: mpsc::Receiver<Vec<KubeChange>>,
    pub(super) notify: mpsc::Sender<Notice>,
    /// What is known of each source.
    pub(super) status: watch::Receiver<KubeStatus>,
}

/// The task that follows the API server, before it runs.
pub(super) struct Task {
    settings: kube::Settings,
    ports: kube::Ports,
}

impl Cluster {
    pub(super) fn new(settings: kube::Settings) -> (Self, Task) {
        // What the owner does not take waits with the task, which keeps only the last change of each object.
        let (sink, changes) = mpsc::channel(1);
        let (notify, notices) = mpsc::channel(BACKLOG);
        let (known, status) = watch::channel(KubeStatus::default());
        let ports = kube::Ports {
            changes: sink,
            status: known,
            notices: (notify.clone(), notices),
        };
        let cluster = Self {
            changes,
            notify,
            status,
        };
        (cluster, Task { settings, ports })
    }
}

impl Task {
    /// Begins once this process's own pod is let through: until then its connections may be refused.
    pub(super) async fn run(self, admission: oneshot::Receiver<()>, cancel: CancellationToken) -> Result<()> {
        tokio::select! {
            _ = admission => {}
            () = cancel.cancelled() => return Ok(()),
        }
        kube::follow(self.settings, self.ports, cancel).await
    }
}

impl Owner {
    /// Takes in what the API server has brought, and returns whether everything has been listed now.
    pub(super) fn take_kube(&mut self, changes: Vec<KubeChange>) -> bool {
        let mut is_listed = false;
        for change in changes {
            match change {
                KubeChange::Update(update) => {
                    let update = self.precedence.of_cluster(update, &self.documents);
                    self.apply(update);
                }
                KubeChange::Listed => is_listed = true,
            }
        }
        self.say_warnings();
        is_listed
    }

    /// Takes in what there is until everything has been listed once, however long that takes: a start that cannot
    /// reach the API server leaves in force what it finds, and takes nothing away.
    pub(super) async fn take_lists(&mut self, inputs: &mut Inputs) -> Result<()> {
        if inputs.changes.kube.is_none() {
            return Ok(());
        }
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let mut has_waited = false;
        loop {
            tokio::select! {
                control = inputs.controls.next() => self.answer(control?),
                change = inputs.changes.next() => match change? {
                    Change::Kube(changes) => {
                        if self.take_kube(changes) {
                            return Ok(());
                        }
                    }
                    other => self.take(other),
                },
                () = &mut patience, if !has_waited => {
                    has_waited = true;
                    tracing::warn!(
                        "the API server has not told everything after {PATIENCE:?} ({}): what an earlier start has \
                         left in the kernel stays in force until it has",
                        inputs.kube_status.as_ref().map(|status| missing(&status.borrow())).unwrap_or_default()
                    );
                }
            }
        }
    }
}

/// The sources that nothing is known of, and why.
fn missing(status: &KubeStatus) -> String {
    let missing = status.sources.iter().filter(|source| source.contact.is_none());
    let mut reasons: Vec<_> = missing
        .map(|source| match &source.error {
            Some(error) => format!("{}: {error}", source.name),
            None => format!("{}: {}", source.name, source.state),
        })
        .collect();
    reasons.sort();
    reasons.join("; ")
}
