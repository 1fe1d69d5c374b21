//! From nothing to enforcement in force.
//!
//! The kernel's maps are changed only once every source has listed what exists: the maps of an earlier start are in
//! force, and a start must not remove entries that it does not know yet.
//!
//! `first lists of all sources -> every host answered for, or five seconds -> in force`

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, bail};
use enforcer_core::model::Host;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    ingest::Ingest,
    input::{Resolution, Source, Sources},
    reconciler::{Reconciler, request_hosts},
};
use crate::{
    names::{AskStatus, wait_for_answers},
    sources::kube::KubeStatus,
};

/// For this long, the start waits for hosts to resolve. Hosts that do not are refused until they do.
const RESOLUTION: Duration = Duration::from_secs(5);

/// After this long without the API server's first lists, the log says that the start waits for them.
const LATE: Duration = Duration::from_secs(5);

/// For this long, another enforcer may hold every root before this start fails.
const TAKEOVER: Duration = Duration::from_secs(1);

/// How often it is looked whether it still has.
const GLANCE: Duration = Duration::from_millis(50);

pub(super) struct Start {
    /// The sources whose first lists are missing.
    awaited: BTreeSet<Source>,
    /// Told once the enforcer's own pod is allowed.
    admitted: Option<oneshot::Sender<()>>,
    names: AskStatus,
    resolution: Option<Resolution>,
    /// When the API server's lists are late; None if that was said, or none is followed.
    late: Option<Instant>,
    kube: Option<watch::Receiver<KubeStatus>>,
    /// Until when every root may be another enforcer's.
    takeover: Option<Instant>,
    /// Where hosts are asked for, if it is not where the reconciler asks.
    hosts: Option<watch::Sender<BTreeSet<Host>>>,
    /// For how long hosts may resolve.
    patience: Duration,
}

impl Start {
    /// Waits for all of `sources`. `admitted` is told once the enforcer's own pod is let through.
    pub(super) fn new(
        sources: &Sources,
        admitted: oneshot::Sender<()>,
        names: AskStatus,
        kube: Option<watch::Receiver<KubeStatus>>,
    ) -> Self {
        let mut awaited = BTreeSet::from([Source::Files, Source::Cgroups]);
        awaited.extend(sources.kube.as_ref().map(|_| Source::Kube));
        awaited.extend(sources.pods.as_ref().map(|_| Source::Pods));
        let mut start = Self {
            late: kube.is_some().then(|| Instant::now() + LATE),
            awaited,
            admitted: Some(admitted),
            names,
            resolution: None,
            kube,
            takeover: None,
            hosts: None,
            patience: RESOLUTION,
        };
        if !start.awaited.contains(&Source::Pods) {
            start.admit();
        }
        start
    }

    /// The same, which waits for no host: at a boot, the kubelet waits for the start, and the network may not be there.
    pub(super) fn at_once(self) -> Self {
        Self {
            patience: Duration::ZERO,
            ..self
        }
    }

    /// The same for another configuration, whose hosts are asked for at `hosts`.
    pub(super) fn again(sources: &Sources, names: AskStatus, hosts: watch::Sender<BTreeSet<Host>>) -> Self {
        Self {
            hosts: Some(hosts),
            ..Self::new(sources, oneshot::channel().0, names, None)
        }
    }

    /// Where hosts are asked for.
    pub(super) fn take_hosts(&mut self) -> Option<watch::Sender<BTreeSet<Host>>> {
        self.hosts.take()
    }

    /// What is waited for: the answers for hosts, and the time at which lists are late.
    pub(super) fn wanted(&mut self) -> (Option<&mut Resolution>, Option<Instant>) {
        (self.resolution.as_mut(), self.late)
    }

    /// A source has listed what there is.
    ///
    /// # Errors
    /// If the enforcer's own pod cannot be let through.
    pub(super) fn note_list(
        &mut self,
        source: Source,
        ingest: &mut Ingest,
        reconciler: &mut Reconciler,
    ) -> Result<()> {
        if !self.awaited.remove(&source) {
            return Ok(());
        }
        match source {
            Source::Pods => {
                reconciler.admit_own_pod(ingest)?;
                self.admit();
            }
            Source::Kube => self.late = None,
            Source::Files | Source::Cgroups => {}
        }
        if self.awaited.is_empty() {
            let names = self.names.clone();
            let hosts = match &self.hosts {
                Some(hosts) => request_hosts(hosts, ingest),
                None => reconciler.request_hosts(ingest),
            };
            let patience = self.patience;
            self.resolution = Some(Box::pin(async move {
                patience.is_zero() || timeout(patience, wait_for_answers(&names, &hosts)).await.is_ok()
            }));
        }
        Ok(())
    }

    /// The API server can be asked: this process is let through, or was never enforced.
    fn admit(&mut self) {
        if let Some(admitted) = self.admitted.take() {
            // Nobody waits where no API server is followed.
            admitted.send(()).ok();
        }
    }

    /// Logs what is missing, once.
    pub(super) fn warn_of_late_lists(&mut self) {
        self.late = None;
        let Some(kube) = &self.kube else { return };
        tracing::warn!(
            "the first lists of the API server are not complete after {LATE:?} ({}): until they are, what an earlier \
             start has pinned stays in force",
            missing(&kube.borrow())
        );
    }

    /// Brings the first lists into force; false if that is to be tried again soon. `in_time`: whether every host has an
    /// answer.
    ///
    /// # Errors
    /// If the kernel refuses, or enforcement begins at none of the roots that are there.
    pub(super) fn finish(
        &mut self,
        in_time: bool,
        ingest: &mut Ingest,
        reconciler: &mut Reconciler,
    ) -> Result<bool> {
        warn_of_unresolved(in_time);
        // The claims of an enforcer that was just killed are removed after its process has ended.
        let end = *self.takeover.get_or_insert_with(|| Instant::now() + TAKEOVER);
        let refused = reconciler.begin(ingest)?;
        if let Some(refused) = refused.filter(|_| Instant::now() >= end) {
            bail!("{refused}");
        }
        let is_begun = reconciler.is_in_force();
        self.resolution = (!is_begun).then(|| -> Resolution {
            Box::pin(async {
                sleep(GLANCE).await;
                true
            })
        });
        Ok(is_begun)
    }
}

/// Says that hosts have not resolved, unless all have in time.
pub(super) fn warn_of_unresolved(in_time: bool) {
    if !in_time {
        tracing::warn!(
            "not every host of the registry has resolved within {RESOLUTION:?}: connections to the others are refused \
             until they resolve; `enforcer status` names those that fail"
        );
    }
}

/// The kinds without a first list from the API server, and why.
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
