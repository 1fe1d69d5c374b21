//! Everybody whom a user could choose, side by side: each sends over a cable of its own to the same kind of servers, and
//! takes turns with all others in one process.
//!
//! ```text
//! take (cgroups, the loaded programs) -> this binary as `rivals` -> subjects -> connect, bulk
//!        subjects: filters (nftables, iptables), envoy, queue <- this binary as `rivals queue`
//! ```
//!
//! **Architecture Invariant:** a subject that is measured has been seen to refuse: what allows everything is fast.

mod bulk;
mod connect;
mod cpus;
mod empty;
mod envoy;
mod exchange;
mod filters;
mod ours;
mod queue;
mod servers;
mod subject;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use figure::{Figure, Goal, Sense, Series, Spread, ratios};

use super::{Measurement, Need, Setting, Size};
use crate::{
    fixture::{TestCgroup, runs::Counts},
    servers::networks::in_two_networks,
};
use subject::Cgroups;

/// Argument with which a test binary takes them.
pub const ARGUMENT: &str = "rivals";

/// With which it judges what the kernel queues.
const QUEUE: &str = "queue";

/// Said where somebody else has had the kernel keep time meanwhile.
const COUNTED: &str = "WRONG: the kernel kept the time of every BPF program for somebody else meanwhile, and each run took longer";

/// Names of subjects.
const NONE: &str = "none";
const OURS: &str = "ours";
const ENVOY: &str = "Envoy";

/// What a short exchange costs.
pub(super) const CONNECT: Measurement = Measurement {
    name: connect::NAME,
    title: "TCP and UDP, connect and one byte, beside everybody else",
    needs: &[Need::Root],
    take: |setting| take(setting, connect::NAME),
};

/// What a stream costs.
pub(super) const BULK: Measurement = Measurement {
    name: bulk::NAME,
    title: "Bulk TCP and datagrams, beside everybody else",
    needs: &[Need::Root],
    take: |setting| take(setting, bulk::NAME),
};

fn take(setting: &Setting, name: &str) -> Result<Vec<Figure>> {
    let [outside, empty, one, many] = [(); 4].map(|()| TestCgroup::new());
    let (outside, empty, one, many) = (outside?, empty?, one?, many?);
    let rules = setting.size.pick(100_000, 100_000, 1_000);
    let free = outside.child("workload")?;
    let bare = empty.child("workload")?;
    let _bare = empty::attach(&bare)?;
    let few = one.child("workload")?;
    let lots = many.child("workload")?;
    let _few = ours::enforce(&one, 1)?;
    let _lots = ours::enforce(&many, rules)?;
    let counts = Counts::now()?;
    let output = Command::new(&setting.program)
        .args([ARGUMENT, name, setting.size.name()])
        .arg(outside.path().join("workload"))
        .args([free, bare, few, lots])
        .arg(rules.to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting the sender")?;
    ensure!(output.status.success(), "the sender has failed");
    let mut figures: Vec<Figure> =
        serde_json::from_slice(&output.stdout).context("reading what the sender says")?;
    if counts.have_grown()? {
        for figure in &mut figures {
            figure.notes.push(COUNTED.to_owned());
        }
    }
    Ok(figures)
}

/// The process's own main: `NAME SIZE PATH FREE EMPTY ONE MANY RULES`, or `queue ADDRESS...`. It prints figures.
///
/// # Errors
/// If something cannot be measured.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || {
        arguments
            .next()
            .context("usage: rivals NAME SIZE PATH FREE EMPTY ONE MANY RULES")
    };
    let text = |word: OsString| word.to_string_lossy().into_owned();
    let name = text(next()?);
    if name == QUEUE {
        return queue::main(arguments.map(text));
    }
    let size = Size::named(&text(next()?))?;
    let cgroups = Cgroups {
        path: PathBuf::from(next()?),
        free: next()?.into(),
        empty: next()?.into(),
        one: next()?.into(),
        many: next()?.into(),
        rules: text(next()?).parse()?,
    };
    let figures = in_two_networks(|networks| {
        let take = match name.as_str() {
            connect::NAME => connect::take,
            bulk::NAME => bulk::take,
            _ => bail!("there is no {name}"),
        };
        take(networks, &cgroups, size)
    })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// What the samples of two subjects come to, round by round.
fn median_ratio(own: &Series, other: &Series) -> Option<f64> {
    Some(Spread::of(&ratios(&own.samples, &other.samples))?.median)
}

/// Holds every series of ours in the figure against those of the same case, by what is promised beside none; `sense` says
/// which is better, less or more. Others have to be overtaken in every case but those that begin with `idle`, in which
/// they do nothing; Envoy by half.
fn goals(
    figure: &Figure,
    sense: Sense,
    of_none: impl Fn(&str) -> Option<f64>,
    idle: Option<&str>,
) -> Vec<Goal> {
    let of_envoy = match sense {
        Sense::AtMost => 0.5,
        Sense::AtLeast => 2.0,
    };
    let mut goals = Vec::new();
    for own in figure.series.iter().filter(|series| series.subject == OURS) {
        let case = &own.case;
        let rules = own.axis.as_ref().map_or(0.0, |axis| axis.value);
        for other in figure.series.iter().filter(|other| other.case == *case) {
            let limit = match other.subject.as_str() {
                NONE => of_none(case),
                OURS | subject::AGAIN | subject::EMPTY => None,
                _ if idle.is_some_and(|idle| case.starts_with(idle)) => None,
                ENVOY => Some(of_envoy),
                _ => Some(1.0),
            };
            if let (Some(limit), Some(ratio)) = (limit, median_ratio(own, other)) {
                let text = format!("{case}, {rules} rules: times {}", other.subject);
                goals.push(match sense {
                    Sense::AtMost => Goal::at_most(&text, ratio, limit),
                    Sense::AtLeast => Goal::at_least(&text, ratio, limit),
                });
            }
        }
    }
    goals
}
