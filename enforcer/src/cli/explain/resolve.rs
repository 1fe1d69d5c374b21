//! What names stand for: as resolvers say it now.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use enforcer_core::{model::Host, registry::Update};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{super::out, asked::Answers};
use crate::names;

/// How long names may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names that do not answer in time are left out.
pub(super) fn ask(
    settings: names::Settings,
    servers: Vec<SocketAddr>,
    wanted: BTreeSet<Host>,
) -> Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let updates = runtime.block_on(resolve(settings, servers, wanted))?;
    let answers = updates.into_iter().filter_map(|update| match update {
        Update::Resolved { host, addresses } => Some((host, addresses)),
        _ => None,
    });
    Ok(answers.collect())
}

/// What the names stand for; those that do not answer in time are left out.
async fn resolve(
    settings: names::Settings,
    servers: Vec<SocketAddr>,
    wanted: BTreeSet<Host>,
) -> Result<Vec<Update>> {
    let (updates, mut resolved) = mpsc::channel(64);
    let (_hosts, hosts) = watch::channel(wanted.clone());
    let (ask, status) = mpsc::channel(1);
    let ports = names::Ports {
        hosts,
        updates,
        resolvers: watch::channel(servers).0,
        status,
    };
    let cancel = CancellationToken::new();
    let task = tokio::spawn(names::run(settings, ports, cancel.clone()));
    let settled = tokio::time::timeout(PATIENCE, names::wait_for_answers(&ask, &wanted));
    tokio::pin!(settled);
    let mut all = Vec::new();
    loop {
        tokio::select! {
            Some(update) = resolved.recv() => all.push(update),
            in_time = &mut settled => {
                if in_time.is_err() {
                    out::complain(format_args!("warning: not every name has resolved after {PATIENCE:?}"));
                }
                break;
            }
        }
    }
    while let Ok(update) = resolved.try_recv() {
        all.push(update);
    }
    cancel.cancel();
    task.await.context("resolving names")??;
    Ok(all)
}
