//! Short exchanges: how long each takes, and how many there are a second, on one processor and on all of them at once.

use std::{sync::Barrier, thread};

use anyhow::{Context as _, Result};
use figure::{Figure, Sense, percentile};

use super::{
    NONE,
    cpus::{Cpu, pin},
    exchange::{Block, Kind},
    goals, servers,
    subject::{Cgroups, Subject, Subjects},
};
use crate::{figures::Size, servers::networks::Networks};

pub(super) const NAME: &str = "connect";

/// What is promised of TCP beside none. It is held against the median: how many there are a second says as much of who
/// else uses the machine.
const MOST: f64 = 1.01;

/// What one round comes to.
struct Round {
    middle: f64,
    late: f64,
    rate: f64,
}

pub(super) fn take(common: &Networks, cgroups: &Cgroups, size: Size) -> Result<Vec<Figure>> {
    let subjects = Subjects::gather(common, cgroups)?;
    servers::start(common, &subjects.cpus)?;
    for subject in subjects.all.iter().filter(|subject| subject.is_apart()) {
        servers::start(subject.networks(), &subjects.cpus)?;
    }
    let mut figures = [
        Figure::new("connect-p50", "A short exchange: the median", "us"),
        Figure::new("connect-p99", "A short exchange: the 99th percentile", "us"),
        Figure::new("connect-rate", "Short exchanges a second", "1/s"),
    ];
    let places = [
        ("one processor", &subjects.cpus[..1]),
        ("all processors", &subjects.cpus[..]),
    ];
    for kind in Kind::ALL {
        for (place, cpus) in places {
            let case = format!("{}, {place}", kind.name());
            eprintln!("connect: {case}");
            let taking: Vec<_> = subjects.all.iter().filter(|subject| subject.does(kind)).collect();
            let rounds = rounds(&taking, (kind, cpus), size)?;
            for (subject, rounds) in taking.iter().zip(rounds) {
                let values: [fn(&Round) -> f64; 3] =
                    [|round| round.middle, |round| round.late, |round| round.rate];
                for (figure, value) in figures.iter_mut().zip(values) {
                    figure
                        .series
                        .push(subject.series(&case, rounds.iter().map(value).collect()));
                }
            }
        }
    }
    let [middle, ..] = &mut figures;
    let is_tcp = |case: &str| case.starts_with(Kind::Tcp.name()).then_some(MOST);
    middle.goals = goals(middle, Sense::AtMost, is_tcp, Some(Kind::UdpConnect.name()));
    for figure in &mut figures {
        figure.beside = Some(NONE.to_owned());
        figure.skipped.clone_from(&subjects.skipped);
    }
    Ok(figures.into())
}

/// All rounds of each subject. Which of them is first alternates.
fn rounds(subjects: &[&Subject<'_>], (kind, cpus): (Kind, &[Cpu]), size: Size) -> Result<Vec<Vec<Round>>> {
    let (rounds, tcp, connects) = size.pick((60, 300, 3_000), (8, 200, 2_000), (2, 20, 50));
    let count = if kind == Kind::UdpConnect { connects } else { tcp };
    for subject in subjects {
        subject.keep(cpus)?;
    }
    let mut all: Vec<Vec<Round>> = subjects.iter().map(|_| Vec::new()).collect();
    let mut order: Vec<_> = (0..subjects.len()).collect();
    for _ in 0..rounds {
        for &index in &order {
            let round = round(subjects[index], (kind, cpus), count);
            all[index].push(round.with_context(|| subjects[index].name)?);
        }
        order.reverse();
    }
    Ok(all)
}

/// One block on each processor, at the same time.
fn round(subject: &Subject<'_>, (kind, cpus): (Kind, &[Cpu]), count: usize) -> Result<Round> {
    subject.enter()?;
    let start = Barrier::new(cpus.len());
    let blocks: Vec<Block> = thread::scope(|scope| {
        let send = |(index, &cpu): (usize, &Cpu)| {
            let start = &start;
            // Its network is that of this thread.
            scope.spawn(move || {
                let is_pinned = pin(&[cpu]);
                start.wait();
                is_pinned?;
                kind.block(servers::server(index), count)
            })
        };
        let senders: Vec<_> = cpus.iter().enumerate().map(send).collect();
        let joined = senders
            .into_iter()
            .map(|sender| sender.join().expect("sending does not panic"));
        joined.collect::<Result<_>>()
    })?;
    let each: Vec<f64> = blocks
        .iter()
        .flat_map(|block| block.each.iter().copied())
        .collect();
    Ok(Round {
        middle: percentile(&each, 50.0).context("no exchanges")?,
        late: percentile(&each, 99.0).context("no exchanges")?,
        rate: blocks
            .iter()
            .map(|block| block.each.len() as f64 / block.seconds)
            .sum(),
    })
}
