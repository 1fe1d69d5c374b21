//! What enforcement costs who sends in bulk: one process with sockets that were born inside and outside an enforced
//! cgroup, which the programs tell apart by nothing else.
//!
//! A block of one kind is only ever compared with one of the other that was sent at almost the same time, in the order
//! `A B B A`, so that a drift of the machine falls on both. The median over many such groups is told with its
//! confidence interval, and so is that of two sockets which are both outside: what the measurement itself makes up.

mod datagrams;
mod measure;
mod tcp;

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::servers::networks::{Networks, in_two_networks};
use measure::compare;

pub use measure::Interval;

/// Argument with which a test binary becomes one.
pub const ARGUMENT: &str = "stream";

/// Who is sent to, over a cable: the guard lets the loopback device's packets pass at once. A rule decides.
const TO: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 7, 3)), 9000);
/// Who sends.
const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 7, 1));

/// Sends one block and says how long that took, in seconds.
type Block<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// The process's own main: `FREE ENFORCED`, two cgroups. It prints a line for each kind of traffic: its name, then
/// the throughput with enforcement over that without (lower end, median, upper end of the interval), then the same
/// for two sockets without.
///
/// # Errors
/// If a cgroup cannot be joined or something cannot be sent.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || arguments.next().context("usage: stream FREE ENFORCED");
    let (free, enforced) = (PathBuf::from(next()?), PathBuf::from(next()?));
    // Sender and receiver share one processor: whatever either has to do more is time that the stream takes longer.
    let mut cpus = CpuSet::new();
    cpus.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one processor")?;
    in_two_networks(|networks| measure(networks, &free, &enforced))
}

fn measure(networks: &Networks, free: &Path, enforced: &Path) -> Result<()> {
    networks.add(FROM, TO.ip())?;
    // The far end is never enforced.
    join(free)?;
    let stream = networks.at_client(tcp::Receiver::new)?;
    let datagrams = networks.at_client(datagrams::Receiver::new)?;
    for kind in [Kind::Tcp, Kind::UdpSegmented, Kind::UdpSingle] {
        let (name, groups) = kind.measured();
        let block = || match kind {
            Kind::Tcp => stream.block(),
            Kind::UdpSegmented => datagrams.block(datagrams::Size::Segmented),
            Kind::UdpSingle => datagrams.block(datagrams::Size::Single),
        };
        let (mut without, mut control) = (block()?, block()?);
        join(enforced)?;
        let mut with = block()?;
        join(free)?;
        let cost = compare(groups, &mut without, &mut with)?;
        let noise = compare(groups, &mut without, &mut control)?;
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
}

impl Kind {
    /// Its name, and how many groups are measured: some seconds' worth.
    fn measured(self) -> (&'static str, usize) {
        match self {
            Self::Tcp => ("tcp", 200),
            Self::UdpSegmented => ("udp-segmented", 1500),
            Self::UdpSingle => ("udp-single", 1500),
        }
    }
}

fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
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
