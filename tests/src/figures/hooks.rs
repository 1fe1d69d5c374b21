//! How long each program runs in the kernel, beside the least that a verdict can do.
//!
//! Three cgroups have the enforcer's programs, an empty program, and one that asks for an ancestor cgroup and looks up
//! two entries. This process goes from one to the next, makes the same calls in each, and has the kernel's statistics
//! say how long each program ran. What the empty one takes, which is mostly the statistics' own clock, is subtracted.

mod bare;
mod calls;
mod hook;
mod limits;
mod packets;
mod stage;

use std::{thread, time::Duration};

use anyhow::Result;
use enforcer_common::Share;
use figure::{Figure, Goal, Series, Spread, greatest, ratios};
use nix::time::{ClockId, clock_gettime};

use super::{Measurement, Need, Setting};
use crate::fixture;
use calls::Call;
use stage::{By, Place, Shape, Stage};

/// What each program takes.
pub(super) const HOOKS: Measurement = Measurement {
    name: "hooks",
    title: "Each program in the kernel, beside the least that a verdict can do",
    needs: &[Need::Root],
    take,
};

/// Subjects.
const OURS: &str = "ours";
const LEAST: &str = "the least";

/// How much of each.
#[derive(Clone, Copy)]
struct Amount {
    rounds: usize,
    calls: usize,
}

/// A call, and where its samples go.
struct Case<'a> {
    call: Call,
    text: &'a str,
    /// The place on an axis.
    at: Option<(&'static str, f64)>,
}

impl<'a> Case<'a> {
    fn of(call: Call, text: &'a str) -> Self {
        Self { call, text, at: None }
    }
}

fn take(setting: &Setting) -> Result<Vec<Figure>> {
    let amount = Amount {
        rounds: setting.size.pick(15, 5, 1),
        calls: setting.size.pick(2_000, 1_000, 50),
    };
    let mut figures = fixture::in_own_network(|| {
        Ok(vec![
            verdicts(amount)?,
            growth(setting, amount)?,
            depth(setting, amount)?,
            limits::take(amount)?,
        ])
    })?;
    figures.push(packets::take(amount)?);
    Ok(figures)
}

/// What decides, in the words of the figure.
const WAYS: [(By, &str); 8] = [
    (By::Own, "a rule of its own"),
    (By::Shared, "a shared rule"),
    (By::Port, "a rule with any address"),
    (By::Network, "a network"),
    (By::Address, "its own address"),
    (By::Loopback, "loopback"),
    (By::Nobody, "refused, with an event"),
    (By::NobodyUntold, "refused, beyond its share of events"),
];

fn verdicts(amount: Amount) -> Result<Figure> {
    let mut figure = Figure::new("hooks-verdicts", "A verdict, by what decides", "ns");
    figure.beside = Some(LEAST.to_owned());
    for (by, way) in WAYS {
        let stage = Stage::new(Shape::of(by))?;
        for call in Call::ALL {
            if call.is_addressed() {
                measure(
                    &mut figure,
                    &stage,
                    &Case::of(call, &format!("{}: {way}", call.text())),
                    amount,
                )?;
            } else if by == By::Own {
                measure(&mut figure, &stage, &Case::of(call, call.text()), amount)?;
            }
        }
    }
    let worst_of = |is_meant: &dyn Fn(&str) -> bool| {
        let ours = figure
            .series
            .iter()
            .filter(|series| series.subject == OURS && is_meant(&series.case));
        greatest(ours.map(|series| ratio(&figure, series).unwrap_or(f64::NAN)))
    };
    let is_allow = |case: &str| WAYS[..5].iter().any(|(_, way)| case.ends_with(way));
    figure.goals = vec![
        Goal::at_most(
            "datagrams: an allow is at most 1.5 times the least",
            worst_of(&|case| is_allow(case) && case.starts_with("UDP")),
            1.5,
        ),
        Goal::at_most(
            "TCP: an allow is at most 1.5 times the least",
            worst_of(&|case| is_allow(case) && case.starts_with("TCP")),
            1.5,
        ),
        Goal::at_most(
            "connect() to loopback is at most 0.2 times the least",
            worst_of(&|case| case.ends_with(WAYS[5].1) && case.contains("connect")),
            0.2,
        ),
        Goal::at_most(
            "a refusal with its event is at most 4 times the least",
            worst_of(&|case| case.ends_with(WAYS[6].1)),
            4.0,
        ),
    ];
    Ok(figure)
}

fn growth(setting: &Setting, amount: Amount) -> Result<Figure> {
    let mut figure = Figure::new(
        "hooks-rules",
        "An allowed connect() over the number of rules",
        "ns",
    );
    figure.beside = Some(LEAST.to_owned());
    let most = setting.size.pick(6, 5, 3);
    for rules in (0..=most)
        .step_by(setting.size.pick(1, 5, 3))
        .map(|power| 10_u32.pow(power))
    {
        let shape = Shape {
            rules,
            ..Shape::of(By::Own)
        };
        let at = Some(("rules", f64::from(rules)));
        measure(
            &mut figure,
            &Stage::new(shape)?,
            &Case {
                at,
                ..Case::of(Call::Probe4, "rules with one address")
            },
            amount,
        )?;
    }
    for networks in [1, setting.size.pick(10_000, 10_000, 10)] {
        let shape = Shape {
            networks,
            ..Shape::of(By::Network)
        };
        let at = Some(("rules", f64::from(networks)));
        measure(
            &mut figure,
            &Stage::new(shape)?,
            &Case {
                at,
                ..Case::of(Call::Probe4, "networks")
            },
            amount,
        )?;
    }
    Ok(figure)
}

fn depth(setting: &Setting, amount: Amount) -> Result<Figure> {
    let mut figure = Figure::new(
        "hooks-depth",
        "An allowed connect() over the depth of the caller's cgroup",
        "ns",
    );
    figure.beside = Some(LEAST.to_owned());
    for below in (0..=7).step_by(setting.size.pick(1, 7, 7)) {
        let shape = Shape {
            below,
            ..Shape::of(By::Own)
        };
        let at = Some(("cgroups below the root", f64::from(below + 1)));
        measure(
            &mut figure,
            &Stage::new(shape)?,
            &Case {
                at,
                ..Case::of(Call::Probe4, "UDP connect(), IPv4")
            },
            amount,
        )?;
    }
    Ok(figure)
}

/// The median of a series over that of the least.
fn ratio(figure: &Figure, series: &Series) -> Option<f64> {
    let least = figure.beside(series)?;
    Some(Spread::of(&ratios(&series.samples, &least.samples))?.median)
}

fn measure(figure: &mut Figure, stage: &Stage, case: &Case<'_>, amount: Amount) -> Result<()> {
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    let told = usize::try_from(Share::LIMIT / 2)?;
    let calls = match stage.shape.by {
        By::Nobody => amount.calls.min(told),
        _ => amount.calls,
    };
    for round in 0..=amount.rounds {
        if stage.shape.by == By::Nobody {
            next_period()?;
        }
        let samples = [
            stage.call(Place::Ours, case.call, calls)?,
            stage.call(Place::Empty, case.call, calls)?,
            stage.call(Place::Least, case.call, calls)?,
        ];
        // The first round warms up.
        if round > 0 {
            ours.push(samples[0] - samples[1]);
            least.push(samples[2] - samples[1]);
        }
    }
    for (subject, samples) in [(OURS, ours), (LEAST, least)] {
        let series = Series::new(case.text, subject, samples);
        figure.series.push(match case.at {
            Some((axis, value)) => series.at(axis, value),
            None => series,
        });
    }
    Ok(())
}

/// Waits until a workload has its share of events again.
fn next_period() -> Result<()> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    let now = u64::try_from(now.as_nanos())?;
    thread::sleep(Duration::from_nanos(Share::PERIOD - now % Share::PERIOD));
    Ok(())
}
