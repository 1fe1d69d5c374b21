//! The task that lists sockets and ends them, for all workloads in turn.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::fd::OwnedFd,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_common::CgroupId;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use super::{BATCH, Batch, Live, Place, Report, Request, end, look::Look};

/// The time slice of one workload.
const TURN: Duration = Duration::from_millis(20);
/// Workloads that are looked at in parallel, so that a slow one does not block the others.
const ABREAST: usize = 2;
/// Batches that are ended in parallel.
const ENDS: usize = 16;
/// Serves requests until the sender is gone. Each sweep and each end is answered.
///
/// Ends go before looks, and of each workload a batch of sockets at a time: whatever one workload has, the others have
/// their turn. A look whose last batch is not settled waits, so that what a workload has open, or keeps from ending,
/// takes as much memory as two batches of it. `marks` is the socket storage in which the connect hooks mark what they let out, if there is one.
///
/// # Errors
/// If a thread cannot be created.
pub async fn run(
    mut requests: mpsc::Receiver<Request>,
    reports: mpsc::Sender<Report>,
    marks: Option<Arc<OwnedFd>>,
) -> Result<()> {
    let mut turns = Turns::new(marks);
    let mut ends = Ends::default();
    let mut looking = JoinSet::new();
    loop {
        ends.start();
        while looking.len() < ABREAST
            && let Some(mut turn) = turns.next()
        {
            looking.spawn_blocking(move || {
                turn.is_over = turn.look.advance(Instant::now() + TURN);
                turn
            });
        }
        tokio::select! {
            biased;
            request = requests.recv() => match request {
                Some(Request::Sweep { places, workloads }) => turns.add(places, workloads),
                Some(Request::End(workload, sockets)) => ends.waiting.push_back((workload, sockets)),
                None => return Ok(()),
            },
            Some(ended) = ends.running.join_next() => {
                let ended = ended.context("ending sockets")?;
                turns.reports.push_back(ends.finish(ended));
            }
            Some(turn) = looking.join_next() => turns.put_back(turn.context("looking at sockets")?),
            () = turns.settled.notified() => {}
            permit = reports.reserve(), if turns.has_news() => match permit {
                Ok(permit) => turns.tell(permit),
                Err(_) => return Ok(()),
            },
        }
    }
}

/// The workloads that are looked at.
struct Turns {
    marks: Option<Arc<OwnedFd>>,
    /// How many looks each sweep still waits for.
    sweeps: BTreeMap<u64, usize>,
    last_sweep: u64,
    waiting: VecDeque<Turn>,
    /// Turns with findings that were not sent to the owner yet.
    telling: VecDeque<Turn>,
    /// Reports that are sent before the findings.
    reports: VecDeque<Report>,
    /// Workloads whose look has begun and is not over: each has at most one running and one waiting.
    begun: BTreeSet<CgroupId>,
    /// A batch is settled.
    settled: Arc<Notify>,
}

struct Turn {
    look: Look,
    /// The batch that was sent to the owner last, until it is settled.
    told: Weak<Batch>,
    /// The sweeps that it answers.
    sweeps: BTreeSet<u64>,
    is_begun: bool,
    is_over: bool,
}

impl Turns {
    fn new(marks: Option<Arc<OwnedFd>>) -> Self {
        Self {
            marks,
            sweeps: BTreeMap::new(),
            last_sweep: 0,
            waiting: VecDeque::new(),
            telling: VecDeque::new(),
            reports: VecDeque::new(),
            begun: BTreeSet::new(),
            settled: Arc::default(),
        }
    }

    fn add(&mut self, places: Vec<Place>, workloads: BTreeSet<CgroupId>) {
        self.last_sweep += 1;
        let sweep = self.last_sweep;
        self.sweeps.insert(sweep, places.len());
        if places.is_empty() {
            self.answer(&[sweep].into());
        }
        let others = Arc::new(workloads);
        for place in places {
            let look = Look::at(place, Arc::clone(&others), self.marks.clone());
            // A look that has not begun serves both sweeps.
            let same = |turn: &&mut Turn| !turn.is_begun && turn.look.place == look.place;
            match self.waiting.iter_mut().find(same) {
                Some(turn) => {
                    turn.look = look;
                    turn.sweeps.insert(sweep);
                }
                None => self.waiting.push_back(Turn {
                    look,
                    told: Weak::new(),
                    sweeps: [sweep].into(),
                    is_begun: false,
                    is_over: false,
                }),
            }
        }
    }

    /// The next turn.
    fn next(&mut self) -> Option<Turn> {
        let may_go_on = |turn: &Turn| turn.is_begun || !self.begun.contains(&turn.look.place.cgroup);
        let at = self.waiting.iter().position(may_go_on)?;
        let mut turn = self.waiting.remove(at)?;
        turn.is_begun = true;
        self.begun.insert(turn.look.place.cgroup);
        Some(turn)
    }

    fn put_back(&mut self, turn: Turn) {
        if !turn.look.found.is_empty() {
            self.telling.push_back(turn);
        } else if turn.is_over {
            let workload = turn.look.place.cgroup;
            self.begun.remove(&workload);
            let hidden = turn.look.hidden;
            self.reports.push_back(Report::Looked { workload, hidden });
            self.answer(&turn.sweeps);
        } else {
            self.waiting.push_back(turn);
        }
    }

    fn answer(&mut self, sweeps: &BTreeSet<u64>) {
        for sweep in sweeps {
            let left = self.sweeps.get(sweep).map_or(0, |left| left.saturating_sub(1));
            if left == 0 {
                self.sweeps.remove(sweep);
                self.reports.push_back(Report::Swept);
            } else {
                self.sweeps.insert(*sweep, left);
            }
        }
    }

    fn has_news(&self) -> bool {
        !self.reports.is_empty() || self.telling.iter().any(Turn::has_room)
    }

    fn tell(&mut self, to: mpsc::Permit<'_, Report>) {
        if let Some(report) = self.reports.pop_front() {
            to.send(report);
        } else if let Some(at) = self.telling.iter().position(Turn::has_room)
            && let Some(mut turn) = self.telling.remove(at)
        {
            let batch = Arc::new(Batch(Arc::clone(&self.settled)));
            turn.told = Arc::downgrade(&batch);
            let found = &mut turn.look.found;
            let of_batch = found.drain(..found.len().min(BATCH)).map(|socket| Live {
                _batch: Some(Arc::clone(&batch)),
                ..socket
            });
            to.send(Report::Found(of_batch.collect()));
            self.put_back(turn);
        }
    }
}

impl Turn {
    /// Whether the owner may get another batch.
    fn has_room(&self) -> bool {
        self.told.strong_count() == 0
    }
}

/// The running ends. At most one batch of a workload at a time: a process can hold a socket so that ending it never
/// completes.
#[derive(Default)]
struct Ends {
    /// At most two batches of found sockets for each workload.
    waiting: VecDeque<(CgroupId, Vec<Live>)>,
    running: JoinSet<(CgroupId, Report)>,
    busy: BTreeSet<CgroupId>,
}

impl Ends {
    fn start(&mut self) {
        while let Some((workload, sockets)) = self.next() {
            self.busy.insert(workload);
            self.running.spawn_blocking(move || {
                let open = end(&sockets);
                (workload, Report::Ended { workload, open })
            });
        }
    }

    fn next(&mut self) -> Option<(CgroupId, Vec<Live>)> {
        if self.running.len() >= ENDS {
            return None;
        }
        let is_free = |(workload, _): &(CgroupId, _)| !self.busy.contains(workload);
        let at = self.waiting.iter().position(is_free)?;
        self.waiting.remove(at)
    }

    fn finish(&mut self, (workload, report): (CgroupId, Report)) -> Report {
        self.busy.remove(&workload);
        report
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use enforcer_common::Transport;

    use super::{
        super::{message, network::Network},
        *,
    };

    const W: CgroupId = CgroupId(7);

    fn live() -> Live {
        // `inet_diag_msg` with the one attribute that has to be there (`INET_DIAG_CGROUP_ID`).
        let mut body = vec![0; 72];
        body.extend([12_u16, 21].map(u16::to_ne_bytes).as_flattened());
        body.extend(W.0.to_ne_bytes());
        let entry = message::entry(Transport::Tcp, &body).unwrap();
        Live {
            workload: W,
            listed: entry.socket,
            network: Arc::new(Network::open(Path::new("/proc/self/ns/net")).unwrap()),
            _batch: None,
        }
    }

    async fn told(turns: &mut Turns) -> Report {
        let (sink, mut reports) = mpsc::channel(1);
        assert!(turns.has_news());
        turns.tell(sink.reserve().await.unwrap());
        reports.recv().await.unwrap()
    }

    #[tokio::test]
    async fn next_sockets_of_a_look_come_once_the_last_are_settled_and_nobody_else_waits_for_that() {
        let place = Place {
            cgroup: W,
            folder: "/nowhere".into(),
        };
        let mut turns = Turns::new(None);
        turns.add(vec![place.clone()], BTreeSet::new());
        let mut turn = turns.next().unwrap();
        turn.look.found.extend(vec![live(); BATCH + 50]);
        turn.is_over = true;
        turns.put_back(turn);
        let Report::Found(first) = told(&mut turns).await else {
            panic!("sockets were found")
        };
        assert_eq!(first.len(), BATCH);
        assert!(!turns.has_news(), "they are not settled");
        turns.add(vec![place], BTreeSet::new());
        assert!(turns.next().is_none(), "one look of a workload at a time");
        turns.add(Vec::new(), BTreeSet::new());
        assert!(
            matches!(told(&mut turns).await, Report::Swept),
            "another sweep is answered"
        );
        let mut some = first;
        drop(some.split_off(1));
        assert!(!turns.has_news(), "one of them is not settled");
        drop(some);
        turns.settled.notified().await;
        let Report::Found(second) = told(&mut turns).await else {
            panic!("there were more")
        };
        assert_eq!(second.len(), 50);
        assert!(matches!(
            told(&mut turns).await,
            Report::Looked {
                workload: W,
                hidden: None
            }
        ));
        assert!(matches!(told(&mut turns).await, Report::Swept));
        assert!(turns.next().is_some(), "its next look");
    }
}
