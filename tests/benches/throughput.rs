//! What enforcement costs in bulk throughput: `cargo bench -p tests --bench throughput`, as root.
//!
//! No test: other load on the machine disturbs it. It fails where the cost is surely more than what is promised; where
//! the machine is too loud to tell, the intervals say so.

use anyhow::{Context as _, Result, bail};
use tests::{
    escape,
    fixture::{self, TestCgroup},
    stream,
};

/// What is promised of bulk streams.
const LEAST: f64 = 0.99;
/// Kinds of traffic.
const KINDS: [&str; 3] = ["tcp", "udp-segmented", "udp-single"];
/// Kinds of traffic that are bulk. Datagrams one by one are told besides: no other kind asks as much of what runs for
/// each packet.
const BULK: [&str; 2] = ["tcp", "udp-segmented"];

fn main() -> Result<()> {
    fixture::need_root()?;
    let (outside, root) = (TestCgroup::new()?, TestCgroup::new()?);
    let (free, enforced) = (outside.child("workload")?, root.child("workload")?);
    let datapath = escape::enforce(&root, escape::Manner::default())?;
    for closure in datapath.closures() {
        println!("{closure}");
    }
    println!("throughput with enforcement over that without: median [95 % interval]");
    let lines = stream::run(
        env!("CARGO_BIN_EXE_enforcer-test"),
        [&free, &free, &enforced],
        &KINDS,
    )?;
    for name in BULK {
        let line = lines.iter().find(|line| line.name == name);
        let cost = line.with_context(|| format!("{name} was not measured"))?.cost;
        if cost.high < LEAST {
            bail!("{name} costs more than is promised: {}", cost.text());
        }
    }
    Ok(())
}
