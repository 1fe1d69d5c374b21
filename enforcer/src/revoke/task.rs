//! The task that looks at sockets and ends them, each workload in its turn.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_common::CgroupId;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Live, Place, Report, Request, end, look::Look};

/// How long one workload is looked at before the next has its turn.
const TURN: Duration = Duration::from_millis(20);
/// Workloads that are looked at at the same time, so that one that takes long leaves room.
const ABREAST: usize = 2;
/// Batches that are ended at the same time.
const ENDS: usize = 16;
/// Sockets that the owner is asked about at once.
const BATCH: usize = 256;

/// Does as it is asked until nobody asks any more. Each sweep and each end is answered.
///
/// Ends go before looks, and of each workload a batch of sockets at a time: whatever one workload has, the others have
/// their turn. `marks` is the socket storage in which the connect hooks mark what they let out, if there is one.
///
/// # Errors
/// If a thread cannot be had.
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
            && let Some(mut turn) = turns.waiting.pop_front()
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
                Some(Request::End(sockets)) => ends.waiting.push_back(sockets),
                None => return Ok(()),
            },
            Some(ended) = ends.running.join_next() => {
                let ended = ended.context("ending sockets")?;
                turns.reports.push_back(ends.finish(ended));
            }
            Some(turn) = looking.join_next() => turns.put_back(turn.context("looking at sockets")?),
            permit = reports.reserve(), if turns.has_news() => match permit {
                Ok(permit) => turns.tell(permit),
                Err(_) => return Ok(()),
            },
        }
    }
}

/// Who is looked at.
struct Turns {
    marks: Option<Arc<OwnedFd>>,
    /// How many looks each sweep still waits for.
    sweeps: BTreeMap<u64, usize>,
    last_sweep: u64,
    waiting: VecDeque<Turn>,
    /// Those who have found something that the owner has not been told.
    telling: VecDeque<Turn>,
    /// What goes before what was found.
    reports: VecDeque<Report>,
}

struct Turn {
    look: Look,
    /// Whom it answers.
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
            // One that has not begun serves both.
            let same = |turn: &&mut Turn| !turn.is_begun && turn.look.place == look.place;
            match self.waiting.iter_mut().find(same) {
                Some(turn) => {
                    turn.look = look;
                    turn.sweeps.insert(sweep);
                }
                None => self.waiting.push_back(Turn {
                    look,
                    sweeps: [sweep].into(),
                    is_begun: false,
                    is_over: false,
                }),
            }
        }
    }

    fn put_back(&mut self, mut turn: Turn) {
        turn.is_begun = true;
        if !turn.look.found.is_empty() {
            self.telling.push_back(turn);
        } else if turn.is_over {
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
        !self.reports.is_empty() || !self.telling.is_empty()
    }

    fn tell(&mut self, to: mpsc::Permit<'_, Report>) {
        if let Some(report) = self.reports.pop_front() {
            to.send(report);
        } else if let Some(mut turn) = self.telling.pop_front() {
            let found = &mut turn.look.found;
            to.send(Report::Found(found.drain(..found.len().min(BATCH)).collect()));
            self.put_back(turn);
        }
    }
}

/// What is ended. Of one workload one batch at a time: a process can hold a socket so that ending it takes for ever.
#[derive(Default)]
struct Ends {
    waiting: VecDeque<Vec<Live>>,
    running: JoinSet<(Option<CgroupId>, Report)>,
    busy: BTreeSet<CgroupId>,
}

impl Ends {
    fn start(&mut self) {
        while let Some(sockets) = self.next() {
            let whose = whose(&sockets);
            self.busy.extend(whose);
            self.running
                .spawn_blocking(move || (whose, Report::Ended { open: end(&sockets) }));
        }
    }

    fn next(&mut self) -> Option<Vec<Live>> {
        if self.running.len() >= ENDS {
            return None;
        }
        let is_free = |sockets: &Vec<Live>| whose(sockets).is_none_or(|whose| !self.busy.contains(&whose));
        let at = self.waiting.iter().position(is_free)?;
        self.waiting.remove(at)
    }

    fn finish(&mut self, (whose, report): (Option<CgroupId>, Report)) -> Report {
        if let Some(whose) = whose {
            self.busy.remove(&whose);
        }
        report
    }
}

fn whose(sockets: &[Live]) -> Option<CgroupId> {
    sockets.first().map(|socket| socket.workload)
}
