//! What it costs to be watched: the same with and without Prometheus scraping every 10 ms and three monitors, in turns.

use std::time::Instant;

use anyhow::{Context as _, Result};
use enforcer_common::Transport;
use figure::{Figure, Goal, Series, percentile};

use super::{
    Measurement, Need, Setting,
    change::{FILE, FIRST, How, change},
    world::{destination, entry, place, settle},
};
use crate::{daemon::Place, fixture::in_own_network, onlookers::Onlookers};

/// The measurement.
pub(super) const WATCHED: Measurement = Measurement {
    name: "watched",
    title: TITLE,
    needs: &[Need::Root],
    take: watched,
};

const TITLE: &str =
    "An enforcer that is scraped every 10 ms and watched by three monitors, beside itself alone";

/// Where it listens for Prometheus.
const LISTENER: &str = "127.0.0.1:9967";

/// How often a workload connects, for one sample.
const CONNECTS: u32 = 200;

const ALONE: &str = "alone";
const WATCHED_BY: &str = "watched";

/// Takes the figure.
///
/// # Errors
/// If something does not work.
fn watched(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("watched", TITLE, "ms");
    let cases = in_own_network(|| measure(setting))?;
    for (case, alone, watched) in cases {
        let median = |samples: &[f64]| percentile(samples, 50.0).unwrap_or(f64::NAN);
        let ratio = median(&watched) / median(&alone);
        let text = format!("{case}: median watched, over alone");
        figure.goals.push(Goal::at_most(&text, ratio, 1.5));
        figure.series.push(Series::new(case, ALONE, alone));
        figure.series.push(Series::new(case, WATCHED_BY, watched));
    }
    Ok(vec![figure])
}

type Case = (&'static str, Vec<f64>, Vec<f64>);

fn measure(setting: &Setting) -> Result<[Case; 2]> {
    let mut place = place(setting, 1, setting.size.pick(1_000, 1_000, 10))?;
    let config = std::fs::read_to_string(place.config())?;
    place.configure(&format!("{config}metrics: {{listen: '{LISTENER}'}}\n"))?;
    place.write(FILE, &entry(FIRST - 1))?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let (mut changes, mut connects) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let turns = setting.size.pick(10, 3, 1);
    let mut number = FIRST;
    for turn in 0..2 * turns {
        let is_watched = turn % 2;
        let onlookers = (is_watched == 1).then(|| LISTENER.parse().map(|at| Onlookers::of(&place, at)));
        let onlookers = onlookers.transpose()?;
        if let Some(onlookers) = &onlookers {
            crate::daemon::wait("onlookers", || {
                place.reaches("web0", &destination(0))?;
                let (scrapes, lines) = onlookers.seen();
                Ok(scrapes > 0 && lines > 2)
            })?;
        }
        for _ in 0..setting.size.pick(20, 5, 1) {
            changes[is_watched].push(change(&mut place, How::Renamed, number, true)?);
            connects[is_watched].push(connect(&mut place, number)?);
            change(&mut place, How::Renamed, number, false)?;
            number += 1;
        }
    }
    let [alone, watched] = changes;
    let [connects_alone, connects_watched] = connects;
    Ok([
        ("allowed, file renamed over another", alone, watched),
        ("200 connects that are allowed", connects_alone, connects_watched),
    ])
}

fn connect(place: &mut Place, number: u32) -> Result<f64> {
    let to = destination(number).parse().context("the destination")?;
    let begin = Instant::now();
    for _ in 0..CONNECTS {
        place.probe("web0")?.call(Transport::Tcp, to)?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}
