//! Which live sockets are to end: those that the registry no longer allows.
//!
//! An address that has merely left a host's DNS answer, or was learned and has expired, is no reason: new connections go elsewhere, and those that are
//! open stay, as they do in Envoy and as Kubernetes' network policies by name have it. Such addresses are remembered
//! from one start to the next.
//!
//! A sweep that is due is noted in the state folder before anything is taken away, so that a start after a crash in
//! between makes up for it. Taking over what an earlier start left is no reason for one.

mod past_addresses;
mod unfinished;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use enforcer_common::{CgroupId, HostId, Verdict};
use enforcer_core::{
    model::{Destination, Host},
    registry::{Registry, Update},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use self::{past_addresses::PastAddresses, unfinished::Unfinished};
use super::ended::Ended;
use crate::{
    daemon::ingest::Ingest,
    datapath::Subject,
    names::memory::Memory,
    revoke::{BATCH, Live, Place, Report, Request},
    state::{PAST_ADDRESSES, SWEEP},
    turns::{Shares, Turns},
};

const GONE: &str = "nobody revokes any more";

/// Sockets of one workload that wait to be judged: two batches, of which whoever looks tells no more before the sockets
/// of the last are judged and ended.
const SHARES: Shares = Shares {
    all: usize::MAX,
    one: 2 * BATCH,
};

/// Whose sockets are to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// These workloads': what changes for one does not have all others looked at.
    Of(BTreeSet<CgroupId>),
    Everything,
}

impl Due {
    const NOTHING: Self = Self::Of(BTreeSet::new());

    fn is_nothing(&self) -> bool {
        *self == Self::NOTHING
    }
}

pub(in crate::daemon) struct Revocation {
    requests: mpsc::Sender<Request>,
    past: PastAddresses,
    /// The sweep that is to be asked for.
    due: Due,
    /// A file that is there while a sweep is due or under way, or something that is to end has not ended.
    mark: Option<PathBuf>,
    is_marked: bool,
    /// Sockets that were found and are to be judged, in turns of their workloads.
    live: Turns<CgroupId, Live>,
    /// Sockets that are to be ended, a batch for each workload.
    doomed: VecDeque<(CgroupId, Vec<Live>)>,
    /// Whether a sweep is due that could not be asked for.
    is_put_off: bool,
    /// Sweeps that were asked for and are not over.
    under_way: usize,
    unfinished: Unfinished,
    /// What was said of sockets that were ended.
    pub(super) ended: Ended,
}

/// Sockets that are judged before anything else has a turn.
const ROUND: usize = 128;

impl Revocation {
    /// With what an earlier start has left in the folder `state`.
    pub(in crate::daemon) fn new(requests: mpsc::Sender<Request>, state: Option<&Path>) -> Self {
        let memory = state.map(|folder| Memory::new(folder.join(PAST_ADDRESSES)));
        let mark = state.map(|folder| folder.join(SWEEP));
        let was_due = mark.as_ref().is_some_and(|mark| mark.exists());
        Self {
            requests,
            past: PastAddresses::new(memory),
            due: if was_due { Due::Everything } else { Due::NOTHING },
            mark,
            is_marked: was_due,
            live: Turns::new(SHARES),
            doomed: VecDeque::new(),
            is_put_off: false,
            ended: Ended::default(),
            under_way: 0,
            unfinished: Unfinished::default(),
        }
    }

    /// Remembers the addresses of hosts.
    pub(super) fn note_update(&mut self, update: &Update) {
        if let Update::Resolved { host, addresses } = update {
            self.past.remember(host, addresses);
        }
    }

    /// Writes what is remembered, if that has changed a moment ago.
    pub(super) fn write(&mut self) {
        self.past.write();
    }

    /// Notes from whom something is about to be taken, or was.
    pub(super) fn note(&mut self, due: Due) {
        if due.is_nothing() {
            return;
        }
        self.set_mark();
        match (&mut self.due, due) {
            (Due::Of(workloads), Due::Of(more)) => workloads.extend(more),
            (all, _) => *all = Due::Everything,
        }
    }

    fn set_mark(&mut self) {
        if let Some(mark) = self.mark.as_ref().filter(|_| !self.is_marked) {
            let folder = mark.parent().map_or(Ok(()), fs::create_dir_all);
            match folder.and_then(|()| fs::write(mark, "")) {
                Ok(()) => self.is_marked = true,
                Err(error) => {
                    tracing::warn!(
                        "cannot write {} ({error}): if the enforcer is killed before it has closed connections that \
                         are no longer allowed, these stay open; make the folder writable",
                        mark.display()
                    );
                }
            }
        }
    }

    /// Unless there is something that a start after a crash would have to make up for.
    fn clear_mark(&mut self) {
        let has_more = !self.live.is_empty() || !self.doomed.is_empty() || self.under_way > 0;
        let is_over = !self.is_due() && !has_more && self.unfinished.is_empty();
        if let Some(mark) = self.mark.as_ref().filter(|_| self.is_marked && is_over) {
            match fs::remove_file(mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(
                        "cannot remove {} ({error}): the next start checks all connections again, and closes none \
                         that is allowed",
                        mark.display()
                    );
                }
                _ => self.is_marked = false,
            }
        }
    }

    /// Asks for a sweep of these places, as far as one is due; while many wait already, later. What lies below a place
    /// and is one of `workloads` is no part of it.
    pub(super) fn sweep<'a>(
        &mut self,
        wanted: &BTreeSet<Host>,
        places: impl Iterator<Item = Place>,
        workloads: impl Iterator<Item = &'a CgroupId>,
    ) -> Result<()> {
        let places: Vec<_> = match &self.due {
            due if due.is_nothing() => return Ok(()),
            Due::Of(due) => places.filter(|place| due.contains(&place.cgroup)).collect(),
            Due::Everything => places.collect(),
        };
        self.past.keep(wanted);
        let workloads: BTreeSet<_> = workloads.copied().collect();
        self.unfinished.keep(&workloads);
        if places.is_empty() {
            self.due = Due::NOTHING;
            self.clear_mark();
            return Ok(());
        }
        let looked_at: Vec<_> = places.iter().map(|place| place.cgroup).collect();
        match self.requests.try_send(Request::Sweep { places, workloads }) {
            Ok(()) => {
                tracing::debug!("looking for sockets that are no longer allowed");
                self.due = Due::NOTHING;
                self.is_put_off = false;
                self.under_way += 1;
                self.unfinished.note_look(looked_at.into_iter());
            }
            Err(TrySendError::Full(_)) => self.is_put_off = true,
            Err(TrySendError::Closed(_)) => anyhow::bail!(GONE),
        }
        Ok(())
    }

    /// Whether a sweep waits for a better moment.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_nothing()
    }

    /// Takes in what was found, or has come of what was asked for.
    pub(super) fn take(&mut self, report: Report) {
        match report {
            Report::Found(live) => {
                for socket in live {
                    self.live.push(socket.workload, socket);
                }
                self.note_left_out();
            }
            Report::Looked { workload, hidden } => self.unfinished.note_looked(workload, hidden),
            Report::Swept => self.under_way = self.under_way.saturating_sub(1),
            Report::Ended { workload, open } => self.unfinished.note_ended(workload, open),
        }
        self.note_progress();
    }

    /// What finds no room is looked for again.
    fn note_left_out(&mut self) {
        let left_out = self.live.take_left_out();
        if !left_out.is_empty() {
            let sockets: u64 = left_out.values().sum();
            tracing::warn!(
                "{sockets} connections were found that do not fit the queue: the sockets of their workloads are \
                 listed again, and those that are no longer allowed are closed later"
            );
            self.note(Due::Of(left_out.into_keys().collect()));
        }
    }

    fn note_progress(&mut self) {
        if self.live.is_empty() && self.doomed.is_empty() {
            self.unfinished.remove_closed();
        }
        self.clear_mark();
    }

    /// Lists the sockets of workloads again of which some are hidden or still open; whether there are any.
    pub(super) fn look_again(&mut self) -> bool {
        let due = self.unfinished.due();
        let has_more = !due.is_empty();
        self.note(Due::Of(due));
        has_more
    }

    /// What keeps connections open that are no longer allowed, a line each.
    pub(super) fn problems(&self, ingest: &Ingest) -> Vec<String> {
        self.unfinished.problems(|workload| {
            let known = ingest.workload(workload);
            known.map_or_else(|| format!("cgroup {}", workload.0), ToString::to_string)
        })
    }

    /// Whether sockets are to be judged, and there is room for those that are to be ended.
    pub(super) fn has_sockets(&self) -> bool {
        !self.live.is_empty() && self.doomed.is_empty()
    }

    /// Whether something waits for whoever sweeps and ends sockets.
    pub(super) fn waits(&self) -> bool {
        self.is_put_off || !self.doomed.is_empty()
    }

    /// Asks for what had found no room; whether that is a sweep, which comes before sockets that are to be ended: a
    /// workload with many of them is not to put off the sweep of another.
    ///
    /// # Errors
    /// If nobody ends sockets any more.
    pub(super) fn go_on(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.is_put_off) {
            return Ok(true);
        }
        self.end()?;
        Ok(false)
    }

    /// Judges some of the sockets that were found: has those ended that are not allowed now, and tells of them. `given`
    /// says for which hosts a workload was given an address; that it may have expired ends nothing. Where that cannot
    /// be read, the workload's sockets are listed again later.
    ///
    /// # Errors
    /// If nobody ends sockets any more.
    pub(super) fn judge(
        &mut self,
        registry: &mut Registry,
        given: impl Fn(CgroupId, IpAddr) -> Result<BTreeSet<HostId>>,
    ) -> Result<()> {
        if !self.has_sockets() {
            return Ok(());
        }
        let mut round = BTreeMap::<_, Vec<_>>::new();
        for (workload, socket) in std::iter::from_fn(|| self.live.pop()).take(ROUND) {
            let to = socket.destination();
            let destination = Destination::new(socket.transport(), to.ip(), to.port());
            round.entry((workload, destination)).or_default().push(socket);
        }
        for ((workload, destination), sockets) in round {
            let hosts = match given(workload, destination.address) {
                Ok(hosts) => hosts,
                Err(error) => {
                    // Whether it is still allowed is not known: it stays until the workload is looked at again.
                    self.unfinished.note_unjudged(workload, format!("{error:#}"));
                    continue;
                }
            };
            let explanation = registry.explain_given(workload, destination, &hosts);
            if explanation.verdict != Verdict::Deny || self.had_been_allowed(workload, destination, registry)
            {
                continue;
            }
            if registry.workload(workload).is_some()
                && let Some(more) = self.ended.ask(workload, sockets.len())
                && let host = registry.names_of(destination.address).pop_first()
                && let Some(known) = registry.workload(workload)
            {
                tracing::warn!(
                    event = "connection_revoked",
                    workload = %known,
                    namespace = %known.namespace,
                    address = %destination.address,
                    port = destination.port,
                    protocol = %Subject::Transport(destination.transport),
                    host = host.as_ref().map(Host::as_str),
                    reason = %explanation.why,
                    object = explanation.why.object().map(tracing::field::display),
                    suggestion = explanation.suggestion,
                    "revoked {known} -> {destination}: {}{more}",
                    explanation.why
                );
            }
            match self.doomed.back_mut() {
                // Those of one workload are neighbours in the round.
                Some((of, batch)) if *of == workload => batch.extend(sockets),
                _ => self.doomed.push_back((workload, sockets)),
            }
        }
        self.end()
    }

    /// Has sockets ended, each workload's by themselves, as soon as there is room for that.
    fn end(&mut self) -> Result<()> {
        while let Some((workload, batch)) = self.doomed.pop_front() {
            match self.requests.try_send(Request::End(workload, batch)) {
                Ok(()) => self.unfinished.note_end(workload),
                Err(TrySendError::Full(Request::End(workload, batch))) => {
                    self.doomed.push_front((workload, batch));
                    break;
                }
                Err(TrySendError::Full(Request::Sweep { .. })) => break,
                Err(TrySendError::Closed(_)) => anyhow::bail!(GONE),
            }
        }
        self.note_progress();
        Ok(())
    }

    /// Whether the address was that of a host which the workload may still reach on this port.
    fn had_been_allowed(
        &self,
        workload: CgroupId,
        destination: Destination,
        registry: &mut Registry,
    ) -> bool {
        self.past.hosts(destination.address).any(|host| {
            registry.addresses_of(host).into_iter().any(|address| {
                let now = Destination {
                    address,
                    ..destination
                };
                registry.explain(workload, now).verdict != Verdict::Deny
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::CgroupId;

    use super::*;
    use crate::revoke::Open;

    fn revocation(state: &Path) -> (Revocation, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(4);
        (Revocation::new(requests, Some(state)), asked)
    }

    #[test]
    fn sweep_that_a_crash_cut_off_is_due_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (mut first, _asked) = revocation(&state);
        first.note(Due::NOTHING);
        assert!(!revocation(&state).0.is_due(), "nothing is taken away");
        first.note(Due::Of([CgroupId(1)].into()));
        drop(first);
        let (mut second, mut asked) = revocation(&state);
        assert!(second.is_due());
        let place = Place {
            cgroup: CgroupId(1),
            folder: "/sys/fs/cgroup/workload".into(),
        };
        let (places, workloads) = (std::iter::once(place), std::iter::empty());
        second.sweep(&BTreeSet::new(), places, workloads).unwrap();
        assert!(matches!(asked.try_recv(), Ok(Request::Sweep { .. })));
        assert!(revocation(&state).0.is_due(), "it is under way");
        second.take(Report::Swept);
        assert!(!revocation(&state).0.is_due(), "it is over");
    }

    #[test]
    fn sweep_that_found_no_room_is_asked_for_once_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let (requests, mut asked) = mpsc::channel(1);
        let mut revocation = Revocation::new(requests, Some(folder.path()));
        sweep(&mut revocation);
        assert!(
            !revocation.is_due() && !revocation.waits(),
            "there is room for one"
        );
        sweep(&mut revocation);
        assert!(revocation.is_due() && revocation.waits(), "and not for another");
        assert!(matches!(asked.try_recv(), Ok(Request::Sweep { .. })));
        assert!(revocation.go_on().unwrap(), "a plan is to ask for it");
        sweep(&mut revocation);
        assert!(!revocation.is_due() && !revocation.waits());
    }

    /// Asks for a sweep of one workload.
    fn sweep(revocation: &mut Revocation) {
        revocation.note(Due::Of([CgroupId(1)].into()));
        let place = Place {
            cgroup: CgroupId(1),
            folder: "/sys/fs/cgroup/workload".into(),
        };
        let (places, workloads) = (std::iter::once(place), std::iter::empty());
        revocation.sweep(&BTreeSet::new(), places, workloads).unwrap();
    }

    #[test]
    fn mark_stays_until_every_sweep_is_over_and_all_that_was_to_end_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let is_marked = || folder.path().join(SWEEP).exists();
        let (mut revocation, _asked) = revocation(folder.path());
        sweep(&mut revocation);
        sweep(&mut revocation);
        revocation.take(Report::Found(Vec::new()));
        revocation.take(Report::Swept);
        assert!(is_marked(), "the second is under way");
        revocation.unfinished.note_end(CgroupId(1));
        revocation.take(Report::Swept);
        assert!(is_marked(), "something is still to end");
        let workload = CgroupId(1);
        revocation.take(Report::Ended { workload, open: None });
        assert!(!is_marked(), "all is over");
        sweep(&mut revocation);
        revocation.unfinished.note_end(workload);
        let open = Some(Open {
            sockets: 1,
            why: "it stays".to_owned(),
        });
        revocation.take(Report::Ended { workload, open });
        revocation.take(Report::Swept);
        assert!(is_marked(), "a socket could not be ended");
    }
}
