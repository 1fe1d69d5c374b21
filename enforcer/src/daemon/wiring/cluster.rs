//! Connects the API server's task with the owner.

use anyhow::Result;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    daemon::BACKLOG,
    report::notice::Notice,
    sources::kube::{self, KubeChange, KubeStatus},
};

/// The owner's ends of what connects it with the API server's task.
pub(in crate::daemon) struct Cluster {
    pub(in crate::daemon) changes: mpsc::Receiver<Vec<KubeChange>>,
    pub(in crate::daemon) notify: mpsc::Sender<Notice>,
    /// What is known of each source.
    pub(in crate::daemon) status: watch::Receiver<KubeStatus>,
}

/// The task that follows the API server, before it runs.
pub(in crate::daemon) struct Task {
    settings: kube::Settings,
    ports: kube::Ports,
}

impl Cluster {
    pub(in crate::daemon) fn new(settings: kube::Settings) -> (Self, Task) {
        // While the owner is busy, changes wait in the task, which keeps only the last one of each object.
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
    /// Begins once this process's own pod is allowed: until then its connections may be refused.
    pub(in crate::daemon) async fn run(
        self,
        admission: oneshot::Receiver<()>,
        cancel: CancellationToken,
    ) -> Result<()> {
        tokio::select! {
            _ = admission => {}
            () = cancel.cancelled() => return Ok(()),
        }
        kube::follow(self.settings, self.ports, cancel).await
    }
}
