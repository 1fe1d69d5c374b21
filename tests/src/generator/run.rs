//! Makes the cgroup and the network, hands out seeds, and looks at what comes out of the cable.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    ARGUMENT, Features, Job, Report,
    executor::{INSIDE, OUTSIDE},
    frame::{self, Frame},
    random,
};
use crate::{
    escape::{Manner, Privileges, arena::Arena, enforce},
    fixture::TestCgroup,
};

/// Sequences between two looks at the cable. What they send has to fit into the receiver's buffer.
const BATCH: u64 = 120;

/// Runs the jobs that are kept, and then the seeds; stops at the first failure, and shrinks it.
///
/// # Errors
/// If the cgroup or the network cannot be made, or a process ends.
pub fn run(program: &Path, kept: &[Job], first: u64, count: u64) -> Result<Report> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| Field::new(program)?.run(kept, first, count));
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The cgroup and the network with their processes, a pair for each kind of privileges.
struct Field {
    // The processes end before their cgroup goes.
    pairs: Vec<Pair>,
    arena: Arena,
    features: Features,
    _datapath: enforcer::datapath::Datapath,
    _root: TestCgroup,
}

struct Pair {
    inside: Process,
    outside: Process,
}

/// What a look at the cable shows.
#[derive(Default)]
struct Seen {
    refused: Vec<String>,
    tokens: BTreeSet<Vec<u8>>,
    ports: BTreeSet<u16>,
}

impl Field {
    fn new(program: &Path) -> Result<Self> {
        let mut arena = Arena::new()?;
        let root = TestCgroup::new()?;
        let cgroup = root.child("workload")?;
        let datapath = enforce(&root, Manner::default())?;
        let features = Features {
            has_lsm: datapath
                .closures()
                .iter()
                .all(|closure| !closure.is_lsm() || closure.absent.is_none()),
        };
        let pairs = Privileges::ALL
            .into_iter()
            .map(|privileges| Pair::start(program, &cgroup, privileges, features))
            .collect::<Result<_>>()?;
        // What came before is nobody's.
        arena.drain(|_| {})?;
        Ok(Self {
            pairs,
            arena,
            features,
            _datapath: datapath,
            _root: root,
        })
    }

    fn run(&mut self, kept: &[Job], first: u64, count: u64) -> Result<Report> {
        let mut report = Report {
            has_lsm: self.features.has_lsm,
            ..Report::default()
        };
        for job in kept {
            if let Some(why) = self.fails(*job)? {
                report.failure = Some(self.shrunk(*job, why)?);
                return Ok(report);
            }
            report.kept += 1;
        }
        let begin = Instant::now();
        let pairs = u64::try_from(self.pairs.len())?;
        let end = first + count;
        let mut from = first;
        while from < end {
            let until = (from + BATCH * pairs).min(end);
            report.failure = self.batch(from, until, &mut report.plain)?;
            report.sequences += until - from;
            report.seconds = begin.elapsed().as_secs_f64();
            if report.failure.is_some() {
                break;
            }
            from = until;
        }
        Ok(report)
    }

    /// Every pair carries out its share of the seeds, one pair after the other: all are on one processor.
    fn batch(&mut self, from: u64, until: u64, plain: &mut u64) -> Result<Option<super::Failure>> {
        let pairs = u64::try_from(self.pairs.len())?;
        let mut told = Vec::new();
        for number in from..until.min(from + pairs) {
            let count = (until - number).div_ceil(pairs);
            let pair = self.pair(number)?;
            told.extend(pair.carry_out((number, pairs, count), u64::MAX)?);
        }
        let seen = self.look()?;
        let missing = missing(&told, &seen);
        *plain += u64::try_from(told.len())?;
        if seen.refused.is_empty() && missing.is_empty() {
            return Ok(None);
        }
        for seed in from..until {
            let job = Job { seed, mask: u64::MAX };
            if let Some(why) = self.fails(job)? {
                return self.shrunk(job, why).map(Some);
            }
        }
        bail!(
            "seeds {from} to {until} fail together and not alone: {:?} {missing:?}",
            seen.refused
        )
    }

    /// Whether one sequence alone fails, and how.
    fn fails(&mut self, job: Job) -> Result<Option<String>> {
        let told = self.pair(job.seed)?.carry_out((job.seed, 1, 1), job.mask)?;
        let seen = self.look()?;
        let mut wrong = seen.refused.clone();
        wrong.extend(missing(&told, &seen));
        Ok((!wrong.is_empty()).then(|| wrong.join("\n")))
    }

    /// Drops every step that the failure does not need.
    fn shrunk(&mut self, job: Job, why: String) -> Result<super::Failure> {
        let whole = random::sequence(job.seed, self.features);
        let all = (1 << whole.len()) - 1;
        let mut best = Job {
            mask: job.mask & all,
            ..job
        };
        let mut why = why;
        let mut is_smaller = true;
        while is_smaller {
            is_smaller = false;
            for step in 0..whole.len() {
                let tried = Job {
                    mask: best.mask & !(1 << step),
                    ..best
                };
                if tried.mask != best.mask
                    && let Some(other) = self.fails(tried)?
                {
                    (best, why) = (tried, other);
                    is_smaller = true;
                }
            }
        }
        Ok(super::Failure {
            job: best,
            privileges: Privileges::ALL[usize::try_from(job.seed % 3)?],
            sequence: whole.masked(best.mask),
            why,
        })
    }

    fn pair(&mut self, seed: u64) -> Result<&mut Pair> {
        let number = usize::try_from(seed)? % self.pairs.len();
        Ok(&mut self.pairs[number])
    }

    fn look(&mut self) -> Result<Seen> {
        let mut seen = Seen::default();
        self.arena.drain(|frame| match frame::judge(frame) {
            Frame::Allowed(token, port) => {
                seen.tokens.extend(token);
                seen.ports.insert(port);
            }
            Frame::Kernel => {}
            Frame::Refused(what) => seen.refused.push(what),
        })?;
        Ok(seen)
    }
}

/// Plain calls of which nothing has arrived, or that failed.
fn missing(told: &[String], seen: &Seen) -> Vec<String> {
    let has_come = |line: &&String| {
        let mut words = line.split(' ');
        let (kind, value) = (words.next(), words.nth(1).unwrap_or_default());
        match kind {
            Some("token") => seen.tokens.contains(value.as_bytes()),
            Some("from") => value.parse().is_ok_and(|port| seen.ports.contains(&port)),
            _ => false,
        }
    };
    told.iter()
        .filter(|line| !has_come(line))
        .map(|line| format!("a plain call to the allowed destination has not come there: {line}"))
        .collect()
}

impl Pair {
    fn start(program: &Path, cgroup: &Path, privileges: Privileges, features: Features) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("enforcer-generator-{}-{number}", std::process::id());
        let start = |role| {
            let mut command = Command::new(program);
            command
                .args([ARGUMENT, role, &name])
                .arg(cgroup)
                .args([privileges.word(), if features.has_lsm { "lsm" } else { "" }]);
            Process::start(command)
        };
        // The one outside looks for the one inside.
        let inside = start(INSIDE)?;
        Ok(Self {
            inside,
            outside: start(OUTSIDE)?,
        })
    }

    /// What there is to be seen of the plain calls among so many seeds from the first on, with that stride.
    fn carry_out(&mut self, (first, stride, count): (u64, u64, u64), mask: u64) -> Result<Vec<String>> {
        let job = format!("{first} {stride} {count} {mask}\n");
        for process in [&mut self.outside, &mut self.inside] {
            process.input.write_all(job.as_bytes())?;
        }
        let told = self.inside.told()?;
        self.outside.told()?;
        Ok(told)
    }
}

struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a process of the generator")?;
        let input = child.stdin.take().context("a pipe was asked for")?;
        let output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        let mut process = Self { child, input, output };
        let line = process.line()?;
        ensure!(line == "ready", "a process of the generator says {line:?}");
        Ok(process)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let size = self.output.read_line(&mut line)?;
        ensure!(size > 0, "a process of the generator has ended");
        Ok(line.trim_end().to_owned())
    }

    /// Its lines up to the last.
    fn told(&mut self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        loop {
            match self.line()? {
                last if last == "done" => return Ok(told),
                line => told.push(line),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the process {} is still there: {error}", self.child.id());
        }
    }
}
