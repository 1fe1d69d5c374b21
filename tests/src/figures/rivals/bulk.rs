//! Streams and datagrams: how much there is of them a second, and what a gigabyte costs.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use figure::{Figure, Sense};

use super::{
    NONE,
    cpus::{Cpu, pin, time},
    goals,
    subject::{Cgroups, Subject, Subjects},
};
use crate::{
    figures::Size,
    servers::networks::Networks,
    stream::{
        Block,
        datagrams::{self, Size as Length},
        tcp,
    },
};

pub(super) const NAME: &str = "bulk";

/// What is promised beside none, of streams and of datagrams.
const STREAM: f64 = 0.99;
const DATAGRAM: f64 = 0.97;

/// Who receives from a subject.
struct Far {
    streams: tcp::Receiver,
    datagrams: datagrams::Receiver,
}

/// Samples of every subject.
type Samples = Vec<Vec<f64>>;

pub(super) fn take(common: &Networks, cgroups: &Cgroups, size: Size) -> Result<Vec<Figure>> {
    let subjects = Subjects::gather(common, cgroups)?;
    pin(&subjects.cpus[..1])?;
    let shared = Far::new(common)?;
    let own: Vec<_> = subjects
        .all
        .iter()
        .map(|subject| {
            subject
                .is_apart()
                .then(|| Far::new(subject.networks()))
                .transpose()
        })
        .collect::<Result<_>>()?;
    let fars: Vec<_> = own.iter().map(|far| far.as_ref().unwrap_or(&shared)).collect();
    let ends: Vec<_> = subjects.all.iter().zip(fars).collect();
    let mut throughput = Figure::new("bulk-tcp", "A stream of TCP: throughput", "GB/s");
    let mut cost = Figure::new(
        "bulk-cpu",
        "A stream of TCP: time of processors a gigabyte",
        "s/GB",
    );
    let mut rate = Figure::new("bulk-udp", "Datagrams a second, on one processor", "1/s");
    for (case, cpus) in [
        ("one processor", &subjects.cpus[..1]),
        ("all processors", &subjects.cpus[..]),
    ] {
        eprintln!("bulk: TCP, {case}");
        let (speeds, costs) = streams(&ends, cpus, size)?;
        for ((subject, _), (speeds, costs)) in ends.iter().zip(speeds.into_iter().zip(costs)) {
            throughput.series.push(subject.series(case, speeds));
            cost.series.push(subject.series(case, costs));
        }
    }
    let udp: Vec<_> = ends
        .into_iter()
        .filter(|(subject, _)| subject.does_udp())
        .collect();
    for (case, length) in [("64 bytes", Length::Small), ("1,400 bytes", Length::Single)] {
        eprintln!("bulk: UDP, {case}");
        for ((subject, _), rates) in udp.iter().zip(datagrams_of(&udp, length, size)?) {
            rate.series.push(subject.series(case, rates));
        }
    }
    throughput.goals = goals(&throughput, Sense::AtLeast, |_| Some(STREAM), None);
    rate.goals = goals(&rate, Sense::AtLeast, |_| Some(DATAGRAM), None);
    let mut figures = vec![throughput, cost, rate];
    for figure in &mut figures {
        figure.beside = Some(NONE.to_owned());
        figure.skipped.clone_from(&subjects.skipped);
    }
    Ok(figures)
}

impl Far {
    fn new(networks: &Networks) -> Result<Self> {
        Ok(Self {
            streams: networks.at_client(tcp::Receiver::new)?,
            datagrams: networks.at_client(datagrams::Receiver::new)?,
        })
    }
}

/// Gigabytes a second, and seconds a gigabyte, of a stream for each processor.
fn streams(ends: &[(&Subject<'_>, &Far)], cpus: &[Cpu], size: Size) -> Result<(Samples, Samples)> {
    let mut all = Vec::new();
    for (subject, far) in ends {
        subject.keep(cpus)?;
        subject.enter()?;
        let mut blocks = Vec::new();
        for &cpu in cpus {
            // The far end's thread stays where it is born.
            pin(&[cpu])?;
            blocks.push((cpu, far.streams.block().context(subject.name)?));
        }
        all.push(blocks);
    }
    let (mut speeds, mut costs) = (samples(ends), samples(ends));
    take_turns(ends.len(), size.pick(100, 20, 2), |index| {
        let before = time(&ends[index].0.others)?;
        let seconds = at_once(&mut all[index]).with_context(|| ends[index].0.name)?;
        let spent: Duration = time(&ends[index].0.others)?.saturating_sub(before);
        let gigabytes = tcp::BLOCK as f64 / 1e9;
        speeds[index].push(seconds.iter().map(|seconds| gigabytes / seconds).sum());
        costs[index].push(spent.as_secs_f64() / (gigabytes * cpus.len() as f64));
        Ok(())
    })?;
    pin(&cpus[..1])?;
    Ok((speeds, costs))
}

/// Sends one block on each processor, at the same time.
fn at_once(blocks: &mut [(Cpu, Block<'_>)]) -> Result<Vec<f64>> {
    thread::scope(|scope| {
        let send = |(cpu, block): &'_ mut (Cpu, Block<'_>)| -> Result<f64> {
            pin(&[*cpu])?;
            block()
        };
        let senders: Vec<_> = blocks
            .iter_mut()
            .map(|block| scope.spawn(move || send(block)))
            .collect();
        let joined = senders
            .into_iter()
            .map(|sender| sender.join().expect("sending does not panic"));
        joined.collect()
    })
}

fn datagrams_of(ends: &[(&Subject<'_>, &Far)], length: Length, size: Size) -> Result<Samples> {
    let mut blocks = Vec::new();
    for (subject, far) in ends {
        subject.enter()?;
        blocks.push(far.datagrams.block(length).context(subject.name)?);
    }
    let mut rates = samples(ends);
    take_turns(ends.len(), size.pick(400, 60, 2), |index| {
        let seconds = blocks[index]().with_context(|| ends[index].0.name)?;
        rates[index].push(datagrams::PACKETS as f64 / seconds);
        Ok(())
    })?;
    Ok(rates)
}

fn samples(ends: &[(&Subject<'_>, &Far)]) -> Samples {
    ends.iter().map(|_| Vec::new()).collect()
}

/// Each has its turn in every round; which of them is first alternates.
fn take_turns(count: usize, rounds: usize, mut turn: impl FnMut(usize) -> Result<()>) -> Result<()> {
    let mut order: Vec<_> = (0..count).collect();
    for _ in 0..rounds {
        order.iter().try_for_each(|&index| turn(index))?;
        order.reverse();
    }
    Ok(())
}
