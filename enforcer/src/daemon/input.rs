//! All inputs of the owner: one enum, and one place that receives them.
//!
//! ```text
//! self-proof, control, sockets found -> Question  (each waits for its answer; they are few)
//! files, API server, cgroups, names -> Change    (collected for a moment, then applied together)
//! the programs' events              -> Events    (a batch after each plan)
//! the owner's own clock             -> Tick, Look, Retry, Turn
//! ```
//!
//! Questions come before changes, and changes before events. No class can starve another: a turn of work ends with a
//! batch of events.

use std::{collections::BTreeSet, net::SocketAddr, pin::Pin};

use anyhow::{Context as _, Result};
use enforcer_core::{model::Host, registry::Update};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::yield_now,
    time::{Instant, Interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    control::OwnerQuestion,
    datapath::Batch,
    names::AskStatus,
    proof,
    revoke::{self, Report},
    sources::{cgroups::CgroupChange, files::FileChange, kube::KubeChange, pods::PodChange},
};

/// An input of the owner.
pub(super) enum Input {
    /// To end.
    Cancelled,
    /// To be answered at once.
    Question(Question),
    /// Something that changes what is enforced.
    Change(Change),
    /// Another configuration.
    Reload(Box<Generation>),
    /// Decisions of the programs.
    Events(Batch),
    /// It is time to read the counters.
    Tick,
    /// It is time to look what was seen.
    Look,
    /// It is time to try again what has failed.
    Retry,
    /// The `revoke` task has room for another request.
    RevokerReady,
    /// Nothing more urgent waits: a turn of work.
    Turn,
    /// At the start: every host has an answer (`in_time`), or the start no longer waits for answers.
    Resolved { in_time: bool },
    /// At the start: the first lists are late.
    ListsLate,
}

/// A question, whose sender waits for the answer.
pub(super) enum Question {
    Proof(proof::Question),
    Control(OwnerQuestion),
    /// Sockets that a sweep has found, and the results of sweeps and of closing sockets.
    Sockets(Report),
}

/// Resolves to whether every host had an answer in time.
pub(super) type Resolution = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A change of what is enforced.
pub(super) enum Change {
    Files(Vec<FileChange>),
    Kube(Vec<KubeChange>),
    Cgroups(Vec<CgroupChange>),
    Pods(Vec<PodChange>),
    Name(Update),
    Resolvers(Vec<SocketAddr>),
}

/// A source, which lists what exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Files,
    Kube,
    Cgroups,
    Pods,
}

/// Which optional inputs the owner waits for now.
pub(super) struct Wanted<'a> {
    /// False while changes that were received are to be applied first.
    pub(super) changes: bool,
    /// False until enforcement is in force.
    pub(super) events: bool,
    /// False until there is something to prove: the first proof is made at once then.
    pub(super) proof: bool,
    /// When what was seen is to be looked at.
    pub(super) look: Option<Instant>,
    /// When what has failed is to be tried again.
    pub(super) retry: Option<Instant>,
    /// Whether requests wait for the `revoke` task.
    pub(super) revoker: bool,
    /// Whether there is work for a turn.
    pub(super) turn: bool,
    /// Whether another configuration can be taken up.
    pub(super) reloads: bool,
    /// At the start: the hosts whose answers are waited for.
    pub(super) resolution: Option<&'a mut Resolution>,
    /// At the start: when the first lists are late.
    pub(super) late: Option<Instant>,
}

/// The ends of all channels that lead to the owner.
pub(super) struct Inputs {
    pub(super) cancel: CancellationToken,
    pub(super) proof: mpsc::Receiver<proof::Question>,
    pub(super) status: mpsc::Receiver<OwnerQuestion>,
    /// None with `revoke: false`.
    pub(super) sockets: Option<mpsc::Receiver<Report>>,
    pub(super) revoker: Option<mpsc::Sender<revoke::Request>>,
    pub(super) sources: Sources,
    pub(super) reloads: mpsc::Receiver<Generation>,
    pub(super) events: mpsc::Receiver<Batch>,
    pub(super) tick: Interval,
}

/// Where changes come from.
pub(super) struct Sources {
    pub(super) files: mpsc::Receiver<Vec<FileChange>>,
    /// None if no API server is followed.
    pub(super) kube: Option<mpsc::Receiver<Vec<KubeChange>>>,
    pub(super) cgroups: mpsc::Receiver<Vec<CgroupChange>>,
    /// None without `pods` in the configuration.
    pub(super) pods: Option<mpsc::Receiver<Vec<PodChange>>>,
    pub(super) names: mpsc::Receiver<Update>,
    pub(super) resolvers: watch::Receiver<Vec<SocketAddr>>,
}

/// Another configuration, and the ends of the tasks that follow what it names.
pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) sources: Sources,
    /// The hosts that are wanted.
    pub(super) hosts: watch::Sender<BTreeSet<Host>>,
    /// The DNS servers in use at first.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) names: AskStatus,
    /// Told once the owner listens to the new tasks.
    pub(super) swapped: oneshot::Sender<()>,
    /// Told once the configuration is in force.
    pub(super) done: oneshot::Sender<()>,
}

impl Inputs {
    /// The next input. Cancel-safe: no input is lost if this future is dropped.
    ///
    /// # Errors If a sender has ended.
    pub(super) async fn next(&mut self, wanted: Wanted<'_>) -> Result<Input> {
        let Wanted {
            changes,
            events,
            proof,
            look,
            retry,
            revoker,
            turn,
            reloads,
            resolution,
            late,
        } = wanted;
        Ok(tokio::select! {
            biased;
            () = self.cancel.cancelled() => Input::Cancelled,
            question = self.proof.recv(), if proof => {
                Input::Question(Question::Proof(question.context("the self-proof has ended")?))
            }
            question = self.status.recv() => {
                Input::Question(Question::Control(question.context("the control socket has ended")?))
            }
            report = receive(&mut self.sockets) => {
                Input::Question(Question::Sockets(report.context("revocation has ended")?))
            }
            _ = self.tick.tick() => Input::Tick,
            () = at(look) => Input::Look,
            () = at(retry) => Input::Retry,
            () = ready(&self.revoker), if revoker => Input::RevokerReady,
            in_time = resolved(resolution) => Input::Resolved { in_time },
            () = at(late) => Input::ListsLate,
            generation = self.reloads.recv(), if reloads => {
                Input::Reload(Box::new(generation.context("nobody reads the configuration any more")?))
            }
            change = self.sources.next(), if changes => Input::Change(change?),
            // Not at once: a task that has used up the runtime's budget would find no questions any more.
            () = yield_now(), if turn => Input::Turn,
            batch = self.events.recv(), if events => Input::Events(batch.context("the event reader has ended")?),
        })
    }

    /// A batch of events, if one waits.
    ///
    /// # Errors
    /// If the task that reads them has ended.
    pub(super) fn waiting_events(&mut self) -> Result<Option<Batch>> {
        match self.events.try_recv() {
            Ok(batch) => Ok(Some(batch)),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => anyhow::bail!("the event reader has ended"),
        }
    }
}

impl Sources {
    /// The next change of any source; no source has precedence. Cancel-safe.
    async fn next(&mut self) -> Result<Change> {
        Ok(tokio::select! {
            files = self.files.recv() => Change::Files(files.context("the file source has ended")?),
            kube = receive(&mut self.kube) => Change::Kube(kube.context("the API server's source has ended")?),
            cgroups = self.cgroups.recv() => {
                Change::Cgroups(cgroups.context("the cgroup source has ended")?)
            }
            pods = receive(&mut self.pods) => Change::Pods(pods.context("the pod source has ended")?),
            name = self.names.recv() => Change::Name(name.context("the resolver task has ended")?),
            changed = self.resolvers.changed() => {
                changed.context("the resolver task has ended")?;
                Change::Resolvers(self.resolvers.borrow_and_update().clone())
            }
        })
    }
}

/// The next message; never, if there is no channel.
async fn receive<T>(channel: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match channel {
        Some(channel) => channel.recv().await,
        None => std::future::pending().await,
    }
}

/// Once it is that time; never, if it is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Resolves once there is room for a request. A closed channel is found by the next request.
async fn ready(revoker: &Option<mpsc::Sender<revoke::Request>>) {
    match revoker {
        Some(revoker) => drop(revoker.reserve().await),
        None => std::future::pending().await,
    }
}

async fn resolved(resolution: Option<&mut Resolution>) -> bool {
    match resolution {
        Some(resolution) => resolution.await,
        None => std::future::pending().await,
    }
}
