//! The one task that owns the registry and the datapath, and what happens at each input.
//!
//! ```text
//! Input -> ingest (registry, pods, cgroups) -> reconciler (plan, maps, programs, open sockets) -> reporter (log, Events)
//! ```
//!
//! A ServiceEntry comes: `Input::Change` -> [`Ingest::apply`] changes the registry -> [`Schedule`] collects what else
//! comes within 50 ms -> `Input::Turn` -> [`Reconciler::bring_up_to_date`] compiles, compares with what the kernel holds,
//! and carries out the difference. A plan that fails half-way starts again from what the maps really hold.

mod awaited;
mod pending;

use anyhow::Result;
use tokio::sync::watch;

use super::{
    ingest::Ingest,
    input::{Change, Input, Inputs, Question, Wanted},
    reconciler::Reconciler,
    reporter::{Reporter, explain_live, inside, names},
    schedule::Schedule,
    start::Start,
};
use crate::control::OwnerQuestion;

pub(super) use pending::Pending;

pub(super) struct Owner {
    pub(super) ingest: Ingest,
    pub(super) reconciler: Reconciler,
    pub(super) reporter: Reporter,
    /// None once enforcement is in force.
    pub(super) start: Option<Start>,
    /// A configuration that is not in force yet.
    pub(super) pending: Option<Pending>,
    pub(super) schedule: Schedule,
    /// Counts what may be news for those who wait for objects.
    pub(super) turns: watch::Sender<u64>,
}

impl Owner {
    /// Enforces until it is cancelled. The start, the steady state and the end run through the same arms; until the
    /// first lists of all sources are there, nothing is carried out.
    ///
    /// # Errors
    /// If a source has ended, or enforcement cannot be brought into force.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Result<()> {
        loop {
            let input = inputs.next(self.wanted()).await?;
            match input {
                Input::Cancelled => {
                    let observer = &mut self.reporter.observer;
                    observer.look(&mut self.ingest, &mut self.reconciler);
                    observer.save();
                    return Ok(());
                }
                Input::Question(question) => self.answer(question),
                Input::Change(change) => self.apply(change)?,
                Input::Reload(generation) => self.pending = Some(Pending::new(*generation, &mut inputs)),
                Input::Events(batch) => self.reporter.write(batch, &mut self.ingest, &self.reconciler),
                Input::Tick => {
                    self.reporter
                        .report_suppressed(&mut self.reconciler, &self.ingest);
                    if self.start.is_none() {
                        self.reporter.report_unbound(&mut self.ingest);
                        self.reporter.report_suspicious(&mut self.ingest);
                    }
                    self.reconciler.forget_gone(&self.ingest);
                    self.reconciler.keep_to_shares();
                    if self.reconciler.look_again(&self.ingest) {
                        self.schedule.note_change();
                    }
                }
                Input::Look => self
                    .reporter
                    .observer
                    .look(&mut self.ingest, &mut self.reconciler),
                Input::Retry => self.schedule.note_change(),
                Input::RevokerReady => {
                    if self.reconciler.resume_revocation()? {
                        self.schedule.note_change();
                    }
                }
                Input::Turn => self.take_turn(&mut inputs)?,
                Input::ListsLate => {
                    if let Some(start) = &mut self.start {
                        start.warn_of_late_lists();
                    }
                }
                Input::Resolved { in_time } => self.come_into_force(in_time, &mut inputs)?,
            }
        }
    }

    fn wanted(&mut self) -> Wanted<'_> {
        let is_in_force = self.start.is_none();
        let has_work = self.schedule.has_changes() || self.reconciler.has_sockets();
        let reloads = is_in_force && self.pending.is_none();
        let of_pending = self.pending.as_mut().map(|pending| &mut pending.start);
        let (resolution, late) = match self.start.as_mut().or(of_pending) {
            Some(start) => start.wanted(),
            None => (None, None),
        };
        Wanted {
            changes: self.schedule.collects(),
            events: is_in_force,
            proof: self.reconciler.is_in_force(),
            look: is_in_force.then(|| self.reporter.observer.due().into()),
            retry: self.schedule.retry().filter(|_| is_in_force),
            revoker: self.reconciler.waits_for_revoker(),
            turn: is_in_force && has_work,
            reloads,
            resolution,
            late,
        }
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        if let Change::Name(update) = &change {
            self.reconciler.remember_addresses(update);
        }
        if let Some(pending) = &mut self.pending {
            return pending.apply(change, &mut self.reconciler);
        }
        let is_news = self.ingest.is_news(&change);
        let listed = self.ingest.apply(change);
        match (&mut self.start, listed) {
            (None, _) if is_news => self.schedule.note_received(),
            (None, _) => self.count_turn(),
            (Some(start), Some(source)) => start.note_list(source, &mut self.ingest, &mut self.reconciler)?,
            (Some(_), None) => {}
        }
        Ok(())
    }

    fn count_turn(&self) {
        self.turns.send_modify(|turns| *turns += 1);
    }

    /// A turn of everything that is not answered at once: the plan, some sockets, some events.
    fn take_turn(&mut self, inputs: &mut Inputs) -> Result<()> {
        if self.schedule.take_changes() {
            let is_done = self.reconciler.bring_up_to_date(&mut self.ingest);
            if self.reconciler.is_up_to_date() {
                self.schedule.note_in_force();
            }
            self.schedule.retry_unless(is_done);
            self.reporter.observer.outdate();
            self.count_turn();
        }
        self.reconciler.judge_sockets(&mut self.ingest)?;
        if let Some(batch) = inputs.waiting_events()? {
            self.reporter.write(batch, &mut self.ingest, &self.reconciler);
        }
        Ok(())
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Proof(question) => self.reconciler.answer_proof(question, &mut self.ingest),
            Question::Sockets(report) => self.reconciler.note_sockets(report),
            Question::Control(question) => {
                let is_waited_for = match question {
                    OwnerQuestion::Status(reply) => {
                        let status = self.reporter.status(&mut self.ingest, &self.reconciler);
                        reply.send(status).is_ok()
                    }
                    OwnerQuestion::Names(workload, reply) => {
                        let table = names(workload.as_deref(), &mut self.ingest, &self.reconciler);
                        reply.send(table).is_ok()
                    }
                    OwnerQuestion::Explain(about, reply) => {
                        let explained = explain_live(&about, &mut self.ingest, &self.reconciler);
                        reply.send(explained).is_ok()
                    }
                    OwnerQuestion::Observed(reply) => {
                        let observer = &mut self.reporter.observer;
                        observer.look(&mut self.ingest, &mut self.reconciler);
                        observer.count_unseen(&self.reconciler);
                        reply.send(observer.observed()).is_ok()
                    }
                    OwnerQuestion::Await(sought, reply) => reply.send(self.find(&sought)).is_ok(),
                    OwnerQuestion::Watch(reply) => reply.send(self.reporter.observer.watch()).is_ok(),
                    OwnerQuestion::Inside(reply) => {
                        reply.send(inside(&mut self.ingest, &self.reconciler)).is_ok()
                    }
                };
                if !is_waited_for {
                    tracing::debug!("what was asked at the control socket is no longer waited for");
                }
            }
        }
    }

    fn come_into_force(&mut self, in_time: bool, inputs: &mut Inputs) -> Result<()> {
        while let Ok(update) = inputs.sources.names.try_recv() {
            self.apply(Change::Name(update))?;
        }
        if let Some(pending) = self.pending.take() {
            self.take_over(pending, in_time)?;
            self.count_turn();
            return Ok(());
        }
        let Some(start) = &mut self.start else {
            return Ok(());
        };
        if start.finish(in_time, &mut self.ingest, &mut self.reconciler)? {
            self.start = None;
            self.reporter.announce(&self.ingest, &self.reconciler);
            self.reporter.report_suspicious(&mut self.ingest);
            self.schedule.retry_unless(!self.reconciler.lacks_roots());
            self.count_turn();
        }
        Ok(())
    }
}
