//! Which live sockets are to end: those that the registry no longer allows.
//!
//! An address that has merely left a host's DNS answer is no reason: new connections go elsewhere, and those that are
//! open stay, as they do in Envoy and as Kubernetes' network policies by name have it. Such addresses are remembered
//! from one start to the next.
//!
//! A sweep that is due is noted in the state folder before anything is taken away, so that a start after a crash in
//! between makes up for it. Taking over what an earlier start left is no reason for one.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::Result;
use enforcer_common::{CgroupId, Verdict};
use enforcer_core::{
    model::{Destination, Host},
    registry::{Registry, Update},
};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::ended::Ended;
use crate::{
    names::memory::Memory,
    revoke::{Live, Place, Report, Request},
    state::{FORMER, SWEEP},
    turns::{Shares, Turns},
};

const GONE: &str = "nobody revokes any more";

/// Addresses that are remembered for one host at most...
const MOST: usize = 4096;
/// ...and for all of them, which is a file of some megabytes. What comes later is not remembered.
const MOST_OF_ALL: usize = 65_536;

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
    /// Every address that a wanted host has had.
    former: BTreeMap<Host, BTreeSet<IpAddr>>,
    /// How many they are.
    held: usize,
    /// The sweep that is to be asked for.
    due: Due,
    /// None if nothing outlives this process.
    memory: Option<Memory>,
    /// A file that is there while a sweep is due or under way, or something that is to end has not ended.
    mark: Option<PathBuf>,
    is_marked: bool,
    /// Sockets that were found and are to be judged, in turns of their workloads.
    live: Turns<CgroupId, Live>,
    /// Sockets that are to be ended, a batch for each workload.
    doomed: VecDeque<Vec<Live>>,
    /// Whether a sweep is due that could not be asked for.
    is_put_off: bool,
    /// Sweeps that were asked for and are not over.
    under_way: usize,
    /// Batches of sockets that are to end and of which nothing was heard.
    ending: usize,
    /// Sockets that could not be ended since the start.
    open: usize,
    /// What was said of sockets that were ended.
    pub(super) ended: Ended,
}

/// Sockets that are judged before anything else has a turn.
const ROUND: usize = 128;

impl Revocation {
    /// With what an earlier start has left in the folder `state`.
    pub(in crate::daemon) fn new(requests: mpsc::Sender<Request>, state: Option<&Path>) -> Self {
        let memory = state.map(|folder| Memory::new(folder.join(FORMER)));
        let mark = state.map(|folder| folder.join(SWEEP));
        let was_due = mark.as_ref().is_some_and(|mark| mark.exists());
        let mut revocation = Self {
            requests,
            former: BTreeMap::new(),
            held: 0,
            due: if was_due { Due::Everything } else { Due::NOTHING },
            memory: None,
            mark,
            is_marked: was_due,
            live: Turns::new(Shares {
                all: usize::MAX,
                one: usize::MAX,
            }),
            doomed: VecDeque::new(),
            is_put_off: false,
            ended: Ended::default(),
            under_way: 0,
            ending: 0,
            open: 0,
        };
        for (host, addresses) in memory.as_ref().map(Memory::read).unwrap_or_default() {
            revocation.remember(&host, &addresses);
        }
        revocation.memory = memory;
        revocation
    }

    /// Remembers the addresses of hosts.
    pub(super) fn note_update(&mut self, update: &Update) {
        if let Update::Resolved { host, addresses } = update {
            self.remember(host, addresses);
        }
    }

    fn remember(&mut self, host: &Host, addresses: &BTreeSet<IpAddr>) {
        let former = self.former.entry(host.clone()).or_default();
        let before = former.len();
        let room = (MOST.saturating_sub(before)).min(MOST_OF_ALL.saturating_sub(self.held));
        let news: Vec<_> = addresses.difference(former).take(room).copied().collect();
        former.extend(news);
        let more = former.len() - before;
        self.held += more;
        if let Some(memory) = self.memory.as_mut().filter(|_| more > 0) {
            memory.touch();
        }
    }

    /// Writes what is remembered, if that has changed a moment ago.
    pub(super) fn write(&mut self) {
        let former = &self.former;
        if let Some(memory) = &mut self.memory {
            memory.write(|| former.clone());
        }
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
                    tracing::warn!(file = %mark.display(), %error, "a crash now would leave sockets open");
                }
            }
        }
    }

    /// Unless there is something that a start after a crash would have to make up for.
    fn clear_mark(&mut self) {
        let has_more = !self.live.is_empty() || !self.doomed.is_empty() || self.under_way + self.ending > 0;
        let is_over = !self.is_due() && !has_more && self.open == 0;
        if let Some(mark) = self.mark.as_ref().filter(|_| self.is_marked && is_over) {
            match fs::remove_file(mark) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(file = %mark.display(), %error, "the next start looks for sockets to end");
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
        self.former.retain(|host, _| wanted.contains(host));
        if places.is_empty() {
            self.due = Due::NOTHING;
            self.clear_mark();
            return Ok(());
        }
        self.held = self.former.values().map(BTreeSet::len).sum();
        let workloads = workloads.copied().collect();
        match self.requests.try_send(Request::Sweep { places, workloads }) {
            Ok(()) => {
                tracing::debug!("looking for sockets that are no longer allowed");
                self.due = Due::NOTHING;
                self.is_put_off = false;
                self.under_way += 1;
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
            }
            Report::Swept => self.under_way = self.under_way.saturating_sub(1),
            Report::Ended { open } => {
                self.ending = self.ending.saturating_sub(1);
                self.open += open;
            }
        }
        self.clear_mark();
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

    /// Judges some of the sockets that were found: has those ended that are not allowed now, and tells of them.
    ///
    /// # Errors
    /// If nobody ends sockets any more.
    pub(super) fn judge(&mut self, registry: &mut Registry) -> Result<()> {
        if !self.has_sockets() {
            return Ok(());
        }
        let mut round = BTreeMap::<_, Vec<_>>::new();
        for (workload, socket) in std::iter::from_fn(|| self.live.pop()).take(ROUND) {
            let destination =
                Destination::new(socket.transport(), socket.remote().ip(), socket.remote().port());
            round.entry((workload, destination)).or_default().push(socket);
        }
        for ((workload, destination), sockets) in round {
            let explanation = registry.explain(workload, destination);
            if explanation.verdict != Verdict::Deny || self.had_been_allowed(workload, destination, registry)
            {
                continue;
            }
            if let Some(known) = registry.workload(workload)
                && let Some(more) = self.ended.ask(workload, sockets.len())
            {
                tracing::warn!("revoked {known} -> {destination}: {}{more}", explanation.why);
            }
            match self.doomed.back_mut() {
                // Those of one workload are neighbours in the round.
                Some(batch) if batch.first().is_some_and(|first| first.workload == workload) => {
                    batch.extend(sockets);
                }
                _ => self.doomed.push_back(sockets),
            }
        }
        self.end()
    }

    /// Has sockets ended, each workload's by themselves, as soon as there is room for that.
    fn end(&mut self) -> Result<()> {
        while let Some(batch) = self.doomed.pop_front() {
            match self.requests.try_send(Request::End(batch)) {
                Ok(()) => self.ending += 1,
                Err(TrySendError::Full(Request::End(batch))) => {
                    self.doomed.push_front(batch);
                    break;
                }
                Err(TrySendError::Full(Request::Sweep { .. })) => break,
                Err(TrySendError::Closed(_)) => anyhow::bail!(GONE),
            }
        }
        self.clear_mark();
        Ok(())
    }

    /// Whether the address was that of a host which the workload may still reach on this port.
    fn had_been_allowed(
        &self,
        workload: CgroupId,
        destination: Destination,
        registry: &mut Registry,
    ) -> bool {
        let had = |(_, former): &(&Host, &BTreeSet<IpAddr>)| former.contains(&destination.address);
        self.former.iter().filter(had).any(|(host, _)| {
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

    fn revocation(state: &Path) -> (Revocation, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(4);
        (Revocation::new(requests, Some(state)), asked)
    }

    fn resolved(host: &str, addresses: impl IntoIterator<Item = [u8; 4]>) -> Update {
        Update::Resolved {
            host: Host::new(host),
            addresses: addresses.into_iter().map(IpAddr::from).collect(),
        }
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
        revocation.ending = 1;
        revocation.take(Report::Swept);
        assert!(is_marked(), "something is still to end");
        revocation.take(Report::Ended { open: 0 });
        assert!(!is_marked(), "all is over");
        sweep(&mut revocation);
        revocation.ending = 1;
        revocation.take(Report::Ended { open: 1 });
        revocation.take(Report::Swept);
        assert!(is_marked(), "a socket could not be ended");
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let (mut revocation, _asked) = revocation(folder.path());
        let many = |host: u8| (0..=255_u8).flat_map(move |a| (0..32_u8).map(move |b| [10, host, a, b]));
        for host in 0..20 {
            revocation.note_update(&resolved(&format!("h{host}.example.com"), many(host)));
        }
        assert!(
            revocation
                .former
                .values()
                .all(|addresses| addresses.len() <= MOST)
        );
        let all: usize = revocation.former.values().map(BTreeSet::len).sum();
        assert_eq!((all, revocation.held), (MOST_OF_ALL, MOST_OF_ALL));
        revocation.note_update(&resolved("h0.example.com", many(0)));
        assert_eq!(revocation.held, MOST_OF_ALL, "what is known is not counted twice");
    }
}
