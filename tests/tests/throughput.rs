//! What enforcement costs in bulk throughput: a benchmark, which other load on the machine disturbs, and therefore no
//! test that runs with the others. `cargo test -p tests --test throughput -- --ignored --nocapture`

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    escape,
    ground::{self, TestCgroup, in_own_network},
    stream::{self, Line},
};

/// What is promised of bulk streams.
const LEAST: f64 = 0.99;
/// Kinds of traffic that are bulk. Datagrams one by one are told besides: no other kind asks as much of what runs for
/// each packet.
const BULK: [&str; 2] = ["tcp", "udp-segmented"];

#[test]
#[ignore = "a benchmark: it takes the machine for a minute"]
fn bulk_throughput_with_enforcement_is_within_one_percent() {
    ground::need_root().unwrap();
    let (free, root) = (TestCgroup::new().unwrap(), TestCgroup::new().unwrap());
    let cgroups = [free.child("workload").unwrap(), root.child("workload").unwrap()];
    let _datapath = escape::enforce(&root, escape::Manner::default()).unwrap();
    let lines = in_own_network(|| -> Result<Vec<Line>> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_enforcer-test"))
            .arg(stream::ARGUMENT)
            .args(&cgroups)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the sender")?;
        let output = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        let lines = output
            .lines()
            .map(|line| {
                let line = Line::parse(&line?)?;
                println!(
                    "{:>14}: with / without enforcement {} ; without / without {}",
                    line.name,
                    text(line.cost),
                    text(line.noise)
                );
                Ok(line)
            })
            .collect::<Result<Vec<_>>>()?;
        ensure!(child.wait()?.success(), "the sender has failed");
        Ok(lines)
    })
    .unwrap();
    for name in BULK {
        let line = lines.iter().find(|line| line.name == name);
        let cost = line.expect("every kind is measured").cost;
        // Where the machine is too loud to tell, the interval says so.
        assert!(cost.high >= LEAST, "{name}: {}", text(cost));
    }
}

fn text(ratio: stream::Interval) -> String {
    format!("{:.4} [{:.4}, {:.4}]", ratio.median, ratio.low, ratio.high)
}
