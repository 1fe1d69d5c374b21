//! Memory of the enforcer, and of its maps in the kernel, with 250 workloads.

use std::{collections::BTreeMap, fs, net::TcpStream, path::Path, process::Stdio};

use anyhow::{Context as _, Result};
use figure::{Figure, Goal, Series};

use super::{
    Measurement, Need, Setting,
    world::{destination, entry, place, settle, sizes, until},
};
use crate::{
    daemon::wait,
    fixture::{in_own_network, tied},
    mesh,
};

const TITLE: &str = "Memory of the enforcer and of its maps";

/// For the table of measurements.
pub(super) const MEMORY: Measurement = Measurement {
    name: "memory",
    title: TITLE,
    needs: &[Need::Root],
    take: memory,
};
const WORKLOADS: u32 = 250;

/// Changes of a file, one after the other.
const CHANGES: u32 = 64;

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
    of_envoy(setting, &mut figure)?;
    Ok(vec![figure])
}

fn at_size(setting: &Setting, entries: u32) -> Result<Vec<Series>> {
    let workloads = setting.size.pick(WORKLOADS, 50, 5);
    let mut place = place(setting, workloads, entries)?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let pid = daemon.pid();
    let of =
        |case: &str, value: f64| Series::new(case, "ours", vec![value]).at("entries", f64::from(entries));
    let mut series = vec![
        of("resident", status(pid, "VmRSS:")?),
        of("of that its own", status(pid, "RssAnon:")?),
        of("at most", status(pid, "VmHWM:")?),
        of("maps in the kernel", maps(pid)?),
    ];
    for change in 0..setting.size.pick(CHANGES, 20, 2) {
        let number = 1_000_000 + change;
        place.write("changing.yaml", &entry(number))?;
        until(&mut place, &destination(number), true)?;
    }
    settle(&place, &mut daemon)?;
    series.push(of("resident, after changes", status(pid, "VmRSS:")?));
    Ok(series)
}

/// Beside it, a real Envoy with a listener and a cluster for each entry, as Istio gives it to every pod.
fn of_envoy(setting: &Setting, figure: &mut Figure) -> Result<()> {
    let Some(binary) = mesh::envoy_path() else {
        let why = "Envoy: it is not there: run `cargo xtask envoy`";
        figure.skipped.push(why.to_owned());
        return Ok(());
    };
    for entries in sizes(setting).iter().filter(|entries| **entries <= MOST_OF_ENVOY) {
        let resident = in_own_network(|| envoy(&binary, *entries))?;
        let series = Series::new("resident, one pod's", "Envoy", vec![resident]);
        figure.series.push(series.at("entries", f64::from(*entries)));
    }
    Ok(())
}

/// Beyond this, Envoy takes minutes to start.
const MOST_OF_ENVOY: u32 = 10_000;

fn envoy(binary: &Path, entries: u32) -> Result<f64> {
    let mut bootstrap = mesh::Bootstrap::sidecar(&mesh::Upstream::BlackHole, false);
    for number in 0..entries {
        let to = destination(number);
        let upstream = mesh::Upstream::Static(to.parse()?);
        bootstrap = bootstrap.redirected(&format!("service-{number}"), &to, &upstream);
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("envoy.json");
    fs::write(&file, bootstrap.text())?;
    let mut process = tied(binary)
        .args([
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--concurrency",
            "2",
            "--config-path",
        ])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting Envoy")?;
    let outcome = wait("Envoy", || Ok(TcpStream::connect(OUTBOUND).is_ok()))
        .and_then(|()| status(process.id(), "VmRSS:"));
    process.kill()?;
    process.wait()?;
    outcome
}

/// Where Envoy takes what is redirected, once it has its configuration.
const OUTBOUND: &str = "127.0.0.1:15001";

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
