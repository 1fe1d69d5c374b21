//! What enforcement costs in bulk throughput: `cargo bench -p tests --bench throughput`, as root.
//!
//! No test: other load on the machine disturbs it. It fails where the cost is surely more than what is promised; where
//! the machine is too loud to tell, the intervals say so.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    escape,
    fixture::{self, TestCgroup},
    stream::{self, Line},
};

/// What is promised of bulk streams.
const LEAST: f64 = 0.99;
/// Kinds of traffic that are bulk. Datagrams one by one are told besides: no other kind asks as much of what runs for
/// each packet.
const BULK: [&str; 2] = ["tcp", "udp-segmented"];

fn main() -> Result<()> {
    fixture::need_root()?;
    let (free, root) = (TestCgroup::new()?, TestCgroup::new()?);
    let cgroups = [free.child("workload")?, root.child("workload")?];
    let datapath = escape::enforce(&root, escape::Manner::default())?;
    for closure in datapath.closures() {
        println!("{closure}");
    }
    println!("throughput with enforcement over that without: median [95 % interval]");
    let lines = measure(&cgroups)?;
    for name in BULK {
        let line = lines.iter().find(|line| line.name == name);
        let cost = line.with_context(|| format!("{name} was not measured"))?.cost;
        if cost.high < LEAST {
            bail!("{name} costs more than is promised: {}", text(cost));
        }
    }
    Ok(())
}

fn measure(cgroups: &[PathBuf; 2]) -> Result<Vec<Line>> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_enforcer-test"))
        .arg(stream::ARGUMENT)
        .args(cgroups)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the sender")?;
    let output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
    let mut lines = Vec::new();
    for line in output.lines() {
        let line = Line::parse(&line?)?;
        let Line { name, cost, noise } = &line;
        println!("{name}: {}, noise {}", text(*cost), text(*noise));
        lines.push(line);
    }
    ensure!(child.wait()?.success(), "the sender has failed");
    Ok(lines)
}

fn text(ratio: stream::Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", ratio.median, ratio.low, ratio.high)
}
