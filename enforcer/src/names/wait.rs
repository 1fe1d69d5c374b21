//! Waits until every host has an answer.

use std::{collections::BTreeSet, time::Duration};

use enforcer_core::{model::Host, names::HostStatus};
use tokio::sync::{mpsc, oneshot};

/// Asks the task for the status of each host.
pub type AskStatus = mpsc::Sender<oneshot::Sender<Vec<HostStatus>>>;

/// How often the task is asked.
const GLANCE: Duration = Duration::from_millis(20);

/// Waits until every host has an answer, or has failed. Updates must be received meanwhile.
pub async fn wait_for_answers(task: &AskStatus, hosts: &BTreeSet<Host>) {
    loop {
        let (reply, status) = oneshot::channel();
        if task.send(reply).await.is_err() {
            return;
        }
        let wait_for_answers: BTreeSet<_> = status
            .await
            .unwrap_or_default()
            .into_iter()
            .filter(|status| status.age.is_some() || status.failing.is_some())
            .map(|status| status.host)
            .collect();
        if hosts
            .iter()
            .filter(|host| !host.is_wildcard())
            .all(|host| wait_for_answers.contains(host))
        {
            return;
        }
        tokio::time::sleep(GLANCE).await;
    }
}
