//! Memory of the enforcer, and of its maps in the kernel, with 250 workloads.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use figure::{Figure, Goal, Series};

use super::{
    Measurement, Need, Setting,
    world::{place, settle, sizes},
};
use crate::fixture::in_own_network;

const TITLE: &str = "Memory of the enforcer and of its maps";

/// For the table of measurements.
pub(super) const MEMORY: Measurement = Measurement {
    name: "memory",
    title: TITLE,
    needs: &[Need::Root],
    take: memory,
};
const WORKLOADS: u32 = 250;

/// The most resident MB, by entries.
const GOALS: [(u32, f64); 2] = [(1_000, 30.0), (10_000, 50.0)];

/// Takes the figure.
///
/// # Errors
/// If something does not work.
fn memory(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("memory", TITLE, "MB");
    figure.notes.push(
        "resident memory has the pages of the program's file that are mapped, which the kernel can take back; maps \
         are what the kernel says that it has allocated for them"
            .to_owned(),
    );
    for entries in sizes(setting) {
        let series = in_own_network(|| at_size(setting, *entries))?;
        for (goal, limit) in GOALS.iter().filter(|(goal, _)| goal == entries) {
            let resident = series[0].samples[0];
            let text = format!("resident MB with {goal} entries");
            figure.goals.push(Goal::at_most(&text, resident, *limit));
        }
        figure.series.extend(series);
    }
    Ok(vec![figure])
}

fn at_size(setting: &Setting, entries: u32) -> Result<Vec<Series>> {
    let workloads = setting.size.pick(WORKLOADS, 50, 5);
    let place = place(setting, workloads, entries)?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let pid = daemon.pid();
    let of =
        |case: &str, value: f64| Series::new(case, "ours", vec![value]).at("entries", f64::from(entries));
    Ok(vec![
        of("resident", status(pid, "VmRSS:")?),
        of("of that its own", status(pid, "RssAnon:")?),
        of("at most", status(pid, "VmHWM:")?),
        of("maps in the kernel", maps(pid)?),
    ])
}

/// A line of a process's status, in MB.
fn status(pid: u32, line: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = status
        .lines()
        .find_map(|it| it.strip_prefix(line))
        .with_context(|| format!("no line {line}"))?;
    let kilobytes: f64 = value.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

/// What the kernel has allocated for the maps that a process has open, in MB.
fn maps(pid: u32) -> Result<f64> {
    let mut maps = BTreeMap::new();
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A file that was closed since is no map.
        let text = fs::read_to_string(file?.path()).unwrap_or_default();
        let line = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(map), Some(bytes)) = (line("map_id:"), line("memlock:")) {
            maps.insert(map, bytes);
        }
    }
    let bytes: u64 = maps.values().sum();
    Ok(bytes as f64 / f64::from(1 << 20))
}
