//! Another configuration, from its first lists to being in force.

use anyhow::{Context as _, Result};
use enforcer_common::Settings;
use enforcer_core::registry::Registry;
use tokio::sync::oneshot;

use super::Owner;
use crate::{
    config::{Enforcement, Observe},
    daemon::{
        ingest::Ingest,
        input::{Change, Generation, Inputs},
        reconciler::Reconciler,
        settings,
        start::{Start, warn_of_unresolved},
    },
    datapath::Cgroup,
};

/// A configuration that is not in force yet.
pub(in crate::daemon) struct Pending {
    ingest: Ingest,
    pub(super) start: Start,
    mode: Enforcement,
    observe: Observe,
    settings: Settings,
    done: oneshot::Sender<()>,
}

impl Pending {
    /// From now on, the sources are those of this configuration. What was in force stays so.
    pub(super) fn new(generation: Generation, inputs: &mut Inputs) -> Self {
        let Generation {
            config,
            sources,
            hosts,
            servers,
            names,
            swapped,
            done,
        } = generation;
        let registry = Registry::new(settings::of_registry(&config, &servers));
        let start = Start::again(&sources, names, hosts);
        inputs.sources = sources;
        // Who asked may have ended.
        swapped.send(()).ok();
        Self {
            ingest: Ingest::new(&config, &servers, registry, None),
            start,
            mode: config.enforcement,
            observe: config.observe.clone(),
            settings: settings::of_programs(&config),
            done,
        }
    }

    pub(super) fn apply(&mut self, change: Change, reconciler: &mut Reconciler) -> Result<()> {
        match self.ingest.apply(change) {
            Some(source) => self.start.note_list(source, &mut self.ingest, reconciler),
            None => Ok(()),
        }
    }
}

impl Owner {
    /// Brings it into force by one plan. Programs are attached before others are detached, so that what is enforced by
    /// either configuration is never without.
    pub(super) fn take_over(&mut self, pending: Pending, in_time: bool) -> Result<()> {
        let Pending {
            ingest,
            mut start,
            mode,
            observe,
            settings,
            done,
        } = pending;
        warn_of_unresolved(in_time);
        let hosts = start
            .take_hosts()
            .context("a configuration comes with its hosts")?;
        let former = std::mem::replace(&mut self.ingest, ingest);
        let (apart, nested) = retired(&former, &self.ingest);
        self.reporter.set_mode(mode);
        self.reporter.observer.configure(&observe);
        self.reconciler.configure(settings, hosts)?;
        self.reconciler.end_at(apart);
        let is_done = self.reconciler.bring_up_to_date(&mut self.ingest);
        self.schedule.retry_unless(is_done);
        self.reconciler.end_at(nested);
        // Who asked may have ended.
        done.send(()).ok();
        Ok(())
    }
}

/// The roots that are none any more: those that have nothing to do with one that is, and the others.
fn retired(former: &Ingest, now: &Ingest) -> (Vec<Cgroup>, Vec<Cgroup>) {
    let stays = |root: &Cgroup| now.roots().any(|other| other.id == root.id);
    let gone = former.roots().filter(|root| !stays(root)).cloned();
    gone.partition(|root| {
        let overlaps =
            |other: &Cgroup| other.path.starts_with(&root.path) || root.path.starts_with(&other.path);
        !now.roots().any(overlaps)
    })
}
