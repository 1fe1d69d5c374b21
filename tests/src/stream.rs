//! What enforcement costs who sends in bulk: one process with sockets that were born inside and outside an enforced
//! cgroup, which the programs tell apart by nothing else; and what the programs that learn names cost beside all others,
//! with sockets that were born in two enforced cgroups.
//!
//! A block of one kind is only ever compared with one of the other that was sent at almost the same time, in the order
//! `A B B A`, so that a drift of the machine falls on both. The median over many such groups is told with its
//! confidence interval, and so is that of two sockets which are both outside: what the measurement itself makes up.

pub(crate) mod datagrams;
pub mod enforced;
mod measure;
mod questions;
pub(crate) mod tcp;

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::servers::networks::{Networks, in_two_networks};
use measure::{compare, delay};
use questions::With;

pub use measure::Interval;

/// Argument with which a test binary becomes one.
pub const ARGUMENT: &str = "stream";

/// Who is sent to, over a cable: the guard lets the loopback device's packets pass at once. A rule decides.
pub(crate) const TO: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 7, 3)), 9000);
/// Who sends.
pub(crate) const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 7, 1));

/// Sends one block and says how long that took, in seconds.
pub(crate) type Block<'a> = Box<dyn FnMut() -> Result<f64> + Send + 'a>;

/// The process's own main: `FREE WITHOUT WITH KIND...`, three cgroups and kinds of traffic. It prints a line for each
/// kind: its name, then the throughput with enforcement over that without (lower end, median, upper end of the
/// interval), then the same for two sockets without. Of questions it tells how many microseconds later each is answered.
///
/// # Errors
/// If a cgroup cannot be joined or something cannot be sent.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    const USAGE: &str = "usage: stream FREE WITHOUT WITH KIND...";
    let mut next = || arguments.next().map(PathBuf::from).context(USAGE);
    let cgroups = [next()?, next()?, next()?];
    let kinds: Vec<_> = arguments.map(|word| Kind::named(&word)).collect::<Result<_>>()?;
    // Sender and receiver share one processor: whatever either has to do more is time that the stream takes longer.
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one processor")?;
    in_two_networks(|networks| measure(networks, &cgroups, &kinds))
}

fn measure(networks: &Networks, [free, without, with]: &[PathBuf; 3], kinds: &[Kind]) -> Result<()> {
    networks.add(FROM, TO.ip())?;
    // The far end is never enforced.
    join(free)?;
    let stream = networks.at_client(tcp::Receiver::new)?;
    let datagrams = networks.at_client(datagrams::Receiver::new)?;
    let questions = networks.at_client(questions::Server::start)?;
    for kind in kinds {
        let block = || match kind {
            Kind::Tcp => stream.block(),
            Kind::UdpSegmented => datagrams.block(datagrams::Size::Segmented),
            Kind::UdpSingle => datagrams.block(datagrams::Size::Single),
            Kind::UdpSmall => datagrams.block(datagrams::Size::Small),
            Kind::Questions(with) => questions.block(*with),
        };
        join(without)?;
        let (mut a, mut control) = (block()?, block()?);
        join(with)?;
        let mut b = block()?;
        join(free)?;
        let (name, groups) = kind.measured();
        let pair = |a: &mut Block<'_>, b: &mut Block<'_>| match kind {
            Kind::Questions(_) => delay(groups, questions::QUESTIONS, a, b),
            _ => compare(groups, a, b),
        };
        let cost = pair(&mut a, &mut b)?;
        let noise = pair(&mut a, &mut control)?;
        println!("{name} {cost} {noise}");
    }
    Ok(())
}

/// A kind of traffic.
#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    UdpSegmented,
    UdpSingle,
    UdpSmall,
    Questions(With),
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Tcp,
        Self::UdpSegmented,
        Self::UdpSingle,
        Self::UdpSmall,
        Self::Questions(With::Fresh),
        Self::Questions(With::Known),
        Self::Questions(With::Nothing),
    ];

    fn named(name: &OsStr) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| name == kind.measured().0)
            .with_context(|| format!("no kind of traffic is called {}", name.display()))
    }

    /// Its name, and how many groups are measured: some seconds' worth.
    fn measured(self) -> (&'static str, usize) {
        match self {
            Self::Tcp => ("tcp", 200),
            Self::UdpSegmented => ("udp-segmented", 1500),
            Self::UdpSingle => ("udp-single", 1500),
            Self::UdpSmall => ("udp-small", 1500),
            Self::Questions(With::Fresh) => ("questions", 150),
            Self::Questions(With::Known) => ("questions-known", 150),
            Self::Questions(With::Nothing) => ("questions-empty", 150),
        }
    }
}

/// Moves this process.
pub(crate) fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
}

/// Starts `program`, the test binary, to compare sockets of cgroups, `[free, without, with]`; prints and returns what
/// it says of each of these kinds of traffic.
///
/// # Errors
/// If it fails.
pub fn run(program: &str, cgroups: [&Path; 3], kinds: &[&str]) -> Result<Vec<Line>> {
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .args(cgroups)
        .args(kinds)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the sender")?;
    let output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
    let mut lines = Vec::new();
    for line in output.lines() {
        let line = Line::parse(&line?)?;
        let Line { name, cost, noise } = &line;
        println!("{name}: {}, noise {}", cost.text(), noise.text());
        lines.push(line);
    }
    ensure!(child.wait()?.success(), "the sender has failed");
    Ok(lines)
}

/// One line of what [`main`] prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The kind of traffic.
    pub name: String,
    /// Throughput with enforcement over that without.
    pub cost: Interval,
    /// The same of two sockets without.
    pub noise: Interval,
}

impl Line {
    /// # Errors
    /// If it is no such line.
    pub fn parse(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let name = words.next().context("no name")?.to_owned();
        let numbers: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>()?;
        let &[a, b, c, d, e, f] = numbers.as_slice() else {
            anyhow::bail!("{line:?} has {} numbers", numbers.len());
        };
        Ok(Self {
            name,
            cost: Interval::new(a, b, c),
            noise: Interval::new(d, e, f),
        })
    }
}
