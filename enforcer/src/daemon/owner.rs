//! The one task that owns the registry and the datapath.
//!
//! Whatever comes in changes the registry; then the plan from what the kernel holds to what it should hold is
//! carried out. A plan that fails half-way is taken up from what the maps really hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, Counter};
use enforcer_core::{documents::Documents, model::Host, plan::Applied, registry::Registry};
use tokio::{
    sync::{mpsc::error::TryRecvError, watch},
    task::yield_now,
    time::{Instant, MissedTickBehavior, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    answers::Outcome,
    flows::Flows,
    inputs::Inputs,
    places::Places,
    pods::NodePods,
    precedence::Precedence,
    revocation::{self, Revocation},
    room::Room,
};
use crate::{
    datapath::{Batch, Cgroup, Datapath},
    proof::Canaries,
    report::{log::LogFormat, once::Once},
};

/// How often what has failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How often the programs' counters are looked at.
const COUNT: Duration = Duration::from_secs(5);

/// For how long changes that wait already are taken in before they are carried out.
const GATHER: Duration = Duration::from_millis(50);

pub(super) struct Owner {
    pub(super) registry: Registry,
    pub(super) documents: Documents,
    pub(super) datapath: Datapath,
    pub(super) applied: Applied,
    pub(super) places: Places,
    /// None if pods are left alone.
    pub(super) pods: Option<NodePods>,
    /// The configured cgroups, and those of pods, that are there.
    pub(super) cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Roots that are there and at which the programs do not run yet.
    pub(super) unattached: BTreeMap<CgroupId, Cgroup>,
    pub(super) hosts: watch::Sender<BTreeSet<Host>>,
    pub(super) flows: Flows,
    pub(super) format: LogFormat,
    /// Whether every workload may ask the resolvers.
    pub(super) allow_resolvers: bool,
    /// Events that were lost, as last said; pinned counters go on counting between starts.
    pub(super) lost: u64,
    /// None if sockets that are open stay open.
    pub(super) revocation: Option<Revocation>,
    /// Whether the kernel holds what the first lists said.
    pub(super) is_started: bool,
    pub(super) canaries: Canaries,
    /// How the last plan ended.
    pub(super) outcome: Outcome,
    /// What the kernel's maps have room for.
    pub(super) room: Room,
    /// What was said of the files, of the registry as a whole, of what the kernel refused, and of connections that
    /// stay open.
    pub(super) problems: Once,
    pub(super) warnings: Once,
    pub(super) failures: Once,
    pub(super) refusals: Once,
    pub(super) unrevoked: Once,
    /// Who is believed where both files and the API server have an object.
    pub(super) precedence: Precedence,
}

/// What is done when nothing more urgent waits.
#[derive(Default)]
struct Work {
    /// Since when there are changes that were taken in and not carried out.
    changed: Option<Instant>,
    /// When what has failed is tried again.
    retry: Option<Instant>,
}

impl Owner {
    /// Takes in whatever comes until `cancel`: control first, then changes, then events, and no class can keep the
    /// others waiting. Who asks waits for the answer, changes are taken in for [`GATHER`] before they are carried
    /// out, and each plan is followed by a batch of events and some of the sockets that are to be judged.
    ///
    /// # Errors
    /// If a source has ended.
    pub(super) async fn follow(&mut self, inputs: &mut Inputs, cancel: &CancellationToken) -> Result<()> {
        let mut work = Work {
            retry: (!self.unattached.is_empty()).then(|| Instant::now() + RETRY),
            ..Work::default()
        };
        let mut count = tokio::time::interval(COUNT);
        count.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                control = inputs.controls.next() => self.answer(control?),
                _ = count.tick() => {
                    if self.count() {
                        work.note_change();
                    }
                }
                () = sleep_until(work.retry.unwrap_or_else(Instant::now)), if work.retry.is_some() => {
                    work.retry = None;
                    work.note_change();
                }
                () = revocation::room(&mut self.revocation) => {
                    if let Some(revocation) = &mut self.revocation
                        && revocation.go_on()?
                    {
                        work.note_change();
                    }
                }
                change = inputs.changes.next(), if work.takes_changes() => {
                    self.take(change?);
                    work.note_change();
                }
                // Not at once: who has used up the runtime's budget would find no questions any more.
                () = yield_now(), if self.has_work(&work) => self.do_work(&mut work, inputs)?,
                batch = inputs.events.recv() => self.tell(batch.context("no more events")?),
            }
        }
    }

    fn has_work(&self, work: &Work) -> bool {
        work.changed.is_some() || self.revocation.as_ref().is_some_and(Revocation::has_sockets)
    }

    /// A turn of everything that is not answered at once: the plan, some sockets, some events.
    fn do_work(&mut self, work: &mut Work, inputs: &mut Inputs) -> Result<()> {
        if work.changed.take().is_some() {
            work.retry = self.bring_up_to_date().then(|| Instant::now() + RETRY);
        }
        if let Some(revocation) = &mut self.revocation {
            revocation.judge(&mut self.registry)?;
        }
        match inputs.events.try_recv() {
            Ok(batch) => self.tell(batch),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => bail!("no more events"),
        }
        Ok(())
    }

    /// What is due from time to time; whether there is a sweep to be asked for.
    fn count(&mut self) -> bool {
        self.report_lost();
        self.report_untold();
        let Some(revocation) = &mut self.revocation else {
            return false;
        };
        revocation.write();
        let problems = revocation.problems(&self.registry).into_iter().collect();
        for problem in self.unrevoked.news(problems) {
            tracing::error!("{problem}");
        }
        revocation.look_again()
    }

    /// Tells of events, in turns of their workloads.
    fn tell(&mut self, batch: Batch) {
        for event in &batch.events {
            if !self.canaries.has(event.cgroup) {
                self.flows.write(event, &mut self.registry, &self.room);
            }
        }
        self.flows.add_untold(batch.left_out, &self.registry);
    }

    /// Says of which workloads events were left out since it was last said.
    fn report_untold(&mut self) {
        match self.datapath.untold() {
            Ok(counted) => {
                let news = self.flows.untold.news(counted);
                self.flows.add_untold(news, &self.registry);
            }
            Err(error) => tracing::error!(
                "how many refusals are missing in the log is not known, since the kernel does not say; enforcement is as \
                 it was: {error:#}"
            ),
        }
        if let Some(revocation) = &mut self.revocation {
            let unsaid = revocation.ended.take_unsaid();
            self.flows.add_untold(unsaid, &self.registry);
        }
        self.flows.say_untold(&self.registry);
    }

    /// Says how many events did not fit the ring buffer since it was last said.
    fn report_lost(&mut self) {
        let counters = match self.datapath.counters() {
            Ok(counters) => counters,
            Err(error) => {
                tracing::error!(
                    "how many refusals were lost on their way to the log is not known, since the kernel does not say; \
                     enforcement is as it was: {error:#}"
                );
                return;
            }
        };
        let lost = counters.get(&Counter::Lost).copied().unwrap_or_default();
        if lost > self.lost {
            tracing::warn!(
                "{} flows were decided and not logged: they came faster than they are read; enforcement is as it was",
                lost - self.lost
            );
        }
        self.lost = lost;
    }
}

impl Work {
    fn note_change(&mut self) {
        self.changed.get_or_insert_with(Instant::now);
    }

    /// Whether more changes are to be taken in before those that were are carried out: a thousand of them cost one
    /// plan, and a stream without end does not put it off.
    fn takes_changes(&self) -> bool {
        self.changed.is_none_or(|since| since.elapsed() < GATHER)
    }
}
