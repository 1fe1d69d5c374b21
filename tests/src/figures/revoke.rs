//! From an entry that is removed to the end of all sockets by it.

use std::{net::TcpStream, time::Instant};

use anyhow::Result;
use figure::{Figure, Goal, Series};

use super::{
    Measurement, Need, Setting,
    world::{PORT, address, entry, place, settle, until},
};
use crate::{
    daemon::{PATIENCE, wait},
    fixture::{in_own_network, tied},
    probe::ACCEPT,
};

const TITLE: &str = "From a removed entry to the end of its sockets";

/// For the table of measurements.
pub(super) const REVOKE: Measurement = Measurement {
    name: "revoke",
    title: TITLE,
    needs: &[Need::Root],
    take: revoke,
};
const FILE: &str = "changing.yaml";
const FIRST: u32 = 1_000_000;

/// Takes the figure.
///
/// # Errors
/// If something does not work.
fn revoke(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("revoke", TITLE, "ms");
    let sizes: &[usize] = setting.size.pick(&[100, 1_000, 10_000], &[100, 1_000], &[10]);
    for sockets in sizes {
        let samples = in_own_network(|| at_size(setting, *sockets))?;
        let most = samples.iter().copied().fold(0.0, f64::max);
        let text = format!("the slowest of {sockets} sockets to end, in ms");
        figure.goals.push(Goal::at_most(&text, most, 1_000.0));
        figure
            .series
            .push(Series::new("all ended", "ours", samples).at("sockets", *sockets as f64));
    }
    Ok(vec![figure])
}

fn at_size(setting: &Setting, sockets: usize) -> Result<Vec<f64>> {
    let mut place = place(setting, 1, 1)?;
    let to = format!("{}:{PORT}", address(FIRST));
    let listening = place.cgroup.child("server")?;
    let mut server = tied(&setting.program)
        .arg(ACCEPT)
        .arg(&listening)
        .arg(&to)
        .spawn()?;
    wait("the server", || Ok(TcpStream::connect(&to).is_ok()))?;
    place.write(FILE, &format!("{}{}", entry(FIRST - 1), entry(FIRST)))?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let mut samples = Vec::new();
    for _ in 0..setting.size.pick(5, 2, 1) {
        until(&mut place, &to, true)?;
        let probe = place.probe("web0")?;
        probe.hold_many(sockets, to.parse()?)?;
        place.write(FILE, &entry(FIRST - 1))?;
        let begin = Instant::now();
        place.probe("web0")?.await_ends(PATIENCE)?;
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
        place.write(FILE, &format!("{}{}", entry(FIRST - 1), entry(FIRST)))?;
    }
    server.kill()?;
    server.wait()?;
    Ok(samples)
}
