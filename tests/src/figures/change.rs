//! From a change to the first connect that is allowed for it, and to the first that is refused for it.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use figure::{Figure, Goal, Series, growth, percentile};

use super::{
    Measurement, Need, Setting,
    world::{destination, entry, place, settle, sizes, until},
};
use crate::{daemon::Place, fixture::in_own_network};

const TITLE: &str = "From a change of the registry to the first connect by it";

/// For the table of measurements.
pub(super) const FILES: Measurement = Measurement {
    name: "change",
    title: TITLE,
    needs: &[Need::Root],
    take: files,
};

/// The file that changes.
pub(super) const FILE: &str = "changing.yaml";

/// The number of the first entry that is added; the one before stays.
pub(super) const FIRST: u32 = 1_000_001;

/// The time between two changes.
const APART: Duration = Duration::from_millis(25);

/// What is measured, by how the file is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Written beside, and renamed over.
    Renamed,
    /// Written in place, and closed.
    InPlace,
}

/// Takes the figure of files.
///
/// # Errors
/// If something does not work.
fn files(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("change-file", TITLE, "ms");
    figure.notes.push(
        "a file that is gone, or shorter after it was written in place, is believed after 250 ms: editors delete and \
         truncate before they write; the entries that are removed here are removed by a file that is renamed over \
         another one"
            .to_owned(),
    );
    for entries in sizes(setting) {
        let series = in_own_network(|| at_size(setting, *entries))?;
        figure.series.extend(series);
    }
    judge(&mut figure);
    Ok(vec![figure])
}

fn at_size(setting: &Setting, entries: u32) -> Result<Vec<Series>> {
    let mut place = place(setting, 1, entries)?;
    place.write(FILE, &entry(FIRST - 1))?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let rounds = setting.size.pick(200, 15, 3);
    let mut allowed = Vec::new();
    let mut refused = Vec::new();
    let mut in_place = Vec::new();
    for round in 0..rounds {
        let number = FIRST + round;
        allowed.push(change(&mut place, How::Renamed, number, true)?);
        refused.push(change(&mut place, How::Renamed, number, false)?);
        in_place.push(change(&mut place, How::InPlace, number, true)?);
        change(&mut place, How::Renamed, number, false)?;
    }
    let series = [
        ("allowed, file renamed over another", allowed),
        ("refused, file renamed over another", refused),
        ("allowed, file written in place", in_place),
    ];
    Ok(series
        .into_iter()
        .map(|(case, samples)| Series::new(case, "ours", samples).at("entries", f64::from(entries)))
        .collect())
}

/// Adds the entry of a number to the file, or removes it, and tries until that is in force.
pub(super) fn change(place: &mut Place, how: How, number: u32, adds: bool) -> Result<f64> {
    let mut text = entry(FIRST - 1);
    if adds {
        text += &entry(number);
    }
    // As changes come: one after the other, and not as fast as they come into force.
    thread::park_timeout(APART);
    let begin = Instant::now();
    match how {
        How::Renamed => place.write(FILE, &text)?,
        How::InPlace => fs::write(place.folder.path().join("registry").join(FILE), &text)?,
    }
    until(place, &destination(number), adds)?;
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// Holds every series against the goals, and all sizes of a case against each other.
pub(super) fn judge(figure: &mut Figure) {
    let mut goals = Vec::new();
    let mut cases: Vec<_> = figure.series.iter().map(|series| series.case.clone()).collect();
    cases.sort();
    cases.dedup();
    for series in &figure.series {
        let at = series.axis.as_ref().map_or(0.0, |axis| axis.value);
        for (percent, limit) in [(50.0, 5.0), (99.0, 20.0)] {
            let measured = percentile(&series.samples, percent).unwrap_or(f64::NAN);
            let text = format!("{}, {at} entries: p{percent} in ms", series.case);
            goals.push(Goal::at_most(&text, measured, limit));
        }
    }
    for case in cases {
        let points: Vec<_> = figure
            .series
            .iter()
            .filter(|series| series.case == case)
            .filter_map(|series| Some((series.axis.as_ref()?.value, series.spread()?.median)))
            .collect();
        if let Some(growth) = growth(&points) {
            let text = format!("{case}: power by which the median grows over the entries");
            goals.push(Goal::at_most(&text, growth.slope, 0.1));
        }
    }
    figure.goals = goals;
}
