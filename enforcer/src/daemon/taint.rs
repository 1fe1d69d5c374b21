//! Takes the taint away that keeps pods from this node, once enforcement is proven here.

use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Kubernetes,
    control::Ports,
    report::dedup::Dedup,
    sources::kube::{TAINT, remove_taint},
};

/// How often it is looked whether enforcement is proven, and the pause after an attempt that has failed.
const GLANCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(10);

/// The longest that one attempt may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Once; a node that is registered anew has a new pod of the enforcer. Then it waits for `cancel`.
///
/// # Errors
/// If the owner is gone.
pub(super) async fn run(
    (access, node): (Kubernetes, String),
    ports: Ports,
    cancel: CancellationToken,
) -> Result<()> {
    let work = async {
        while !ports.gather().await?.proven {
            tokio::time::sleep(GLANCE).await;
        }
        let mut said = Dedup::default();
        loop {
            let removed = tokio::time::timeout(PATIENCE, remove_taint(&access, &node)).await;
            let error = match removed {
                Ok(Ok(is_removed)) => {
                    if is_removed {
                        tracing::info!(
                            "enforcement is proven, and the taint {TAINT} is removed from node {node}"
                        );
                    }
                    return Ok(());
                }
                Ok(Err(error)) => format!("{error:#}"),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            for error in said.news([error].into()) {
                tracing::error!(
                    "the taint {TAINT} cannot be removed from node {node}, so that pods may not be scheduled to it; \
                     enforcement is not affected, and it is tried again every {PAUSE:?}: {error}"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let outcome: Option<Result<()>> = cancel.run_until_cancelled(work).await;
    match outcome {
        // At the end of the process, its tasks end one by one.
        Some(Err(error)) if !cancel.is_cancelled() => Err(error),
        _ => {
            cancel.cancelled().await;
            Ok(())
        }
    }
}
