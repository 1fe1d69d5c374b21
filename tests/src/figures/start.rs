//! From the start of the process to enforcement in force, and verdicts meanwhile.

use std::{collections::BTreeSet, ffi::OsString, fs, time::Instant};

use anyhow::{Result, ensure};
use figure::{Figure, Goal, Series};
use nix::sys::signal::Signal;

use super::{
    Measurement, Need, Setting,
    world::{configuration, destination, place, settle, sizes},
};
use crate::{daemon::Place, fixture::in_own_network};

const TITLE: &str = "From the start of the process to enforcement in force";

/// For the table of measurements.
pub(super) const START: Measurement = Measurement {
    name: "start",
    title: TITLE,
    needs: &[Need::Root],
    take: starts,
};

/// The entry of the first workload, and a destination that nobody has.
const ALLOWED: u32 = 0;
const REFUSED: u32 = 1_000_000;

/// Takes the figures of starts, and of what they let through wrongly.
///
/// # Errors
/// If something does not work.
fn starts(setting: &Setting) -> Result<Vec<Figure>> {
    let mut times = Figure::new("start", TITLE, "ms");
    let mut gaps = Figure::new(
        "start-gap",
        "Wrong verdicts while an enforcer is replaced",
        "verdicts",
    );
    for entries in sizes(setting) {
        let (time, gap) = in_own_network(|| at_size(setting, *entries))?;
        times.series.extend(time);
        gaps.series.extend(gap);
    }
    for series in &times.series {
        let at = series.axis.as_ref().map_or(0.0, |axis| axis.value);
        if at <= 10_000.0 && series.case == "restart" {
            let median = series.spread().map_or(f64::NAN, |spread| spread.median);
            let text = format!("restart with {at} entries, median in ms");
            times.goals.push(Goal::at_most(&text, median, 500.0));
        }
    }
    let wrong = gaps.series.iter().filter(|series| series.case.ends_with("wrong"));
    let wrong = wrong.flat_map(|series| &series.samples).sum();
    gaps.goals
        .push(Goal::at_most("wrong verdicts while it is replaced", wrong, 0.0));
    Ok(vec![times, gaps])
}

fn at_size(setting: &Setting, entries: u32) -> Result<(Vec<Series>, Vec<Series>)> {
    let mut place = place(setting, 1, entries)?;
    let rounds = setting.size.pick(5, 3, 1);
    let begin = Instant::now();
    let mut daemon = place.start(&["--log-level", "error"])?;
    let first = vec![begin.elapsed().as_secs_f64() * 1e3];
    settle(&place, &mut daemon)?;
    let mut restarts = Vec::new();
    for _ in 0..rounds {
        daemon.end(Signal::SIGKILL)?;
        let begin = Instant::now();
        daemon = place.start(&["--log-level", "error"])?;
        restarts.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    daemon.end(Signal::SIGKILL)?;
    let restarted = replaced(&mut place, "restart")?;
    // Other capacities are other maps, which are filled beside those in force: as with an upgrade.
    let before = generations(&place)?;
    place.configure(&format!("{}capacities: {{exact: 300000}}\n", configuration(1)))?;
    let upgraded = replaced(&mut place, "upgrade")?;
    ensure!(generations(&place)? != before, "there are no other maps");
    let at = |series: Series| series.at("entries", f64::from(entries));
    let gaps = restarted.into_iter().chain(upgraded).map(at).collect();
    Ok((
        vec![
            at(Series::new("first start", "ours", first)),
            at(Series::new("restart", "ours", restarts)),
        ],
        gaps,
    ))
}

/// The folders of pinned maps: each layout, and each choice of capacities, has its own.
fn generations(place: &Place) -> Result<BTreeSet<OsString>> {
    let folders = fs::read_dir(place.bpffs().join("enforcer"))?;
    folders.map(|folder| Ok(folder?.file_name())).collect()
}

/// Starts an enforcer in the place of one that was killed, and counts wrong verdicts until it is in force.
/// Returns these, and all verdicts that were asked for.
fn replaced(place: &mut Place, how: &str) -> Result<[Series; 2]> {
    let mut daemon = place.launch(&["--log-level", "error"])?;
    let (mut wrong, mut all) = (0, 0);
    while !daemon.has_announced() {
        let is_wrong =
            !place.reaches("web0", &destination(ALLOWED))? || place.reaches("web0", &destination(REFUSED))?;
        wrong += u32::from(is_wrong);
        all += 2;
    }
    daemon.end(Signal::SIGKILL)?;
    Ok([
        Series::new(&format!("{how}: wrong"), "ours", vec![f64::from(wrong)]),
        Series::new(&format!("{how}: all"), "ours", vec![f64::from(all)]),
    ])
}
