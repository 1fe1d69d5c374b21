//! What the programs that learn names cost beside all others: `cargo bench -p tests --bench names`, as root.
//!
//! Two cgroups are enforced with the same registry; at one of them the two programs are detached. Sockets of both are
//! compared in pairs, as in `throughput`. It fails where throughput is surely less than what is promised. Of questions it
//! tells by how many microseconds answers come later: with an address that is new to the workload, with one that it
//! knows, and with none.

use anyhow::{Context as _, Result, bail};
use tests::{
    fixture::{Bpffs, TestCgroup, in_own_network, need_root},
    stream::{
        self,
        enforced::{enforce, enforce_without_learning},
    },
};

/// What is promised of throughput, with over without.
const LEAST: [(&str, f64); 2] = [("tcp", 0.99), ("udp-small", 0.97)];
fn main() -> Result<()> {
    need_root()?;
    // The bpffs is seen by nobody else.
    in_own_network(measure)
}

fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bpffs = Bpffs::mount(folder.path().join("bpffs"))?;
    let [outside, root, learning] = [TestCgroup::new()?, TestCgroup::new()?, TestCgroup::new()?];
    let free = outside.child("workload")?;
    let (without, with) = (root.child("workload")?, learning.child("workload")?);
    let _without = enforce_without_learning(&root, &bpffs)?;
    let _with = enforce(&learning)?;
    println!("with the programs that learn names, over or later than without: median [95 % interval]");
    let kinds = [
        "tcp",
        "udp-small",
        "questions",
        "questions-known",
        "questions-empty",
    ];
    let program = env!("CARGO_BIN_EXE_enforcer-test");
    let lines = stream::run(program, [&free, &without, &with], &kinds)?;
    let cost = |name: &str| {
        let mut lines = lines.iter();
        let line = lines.find(|line| line.name == name);
        Ok::<_, anyhow::Error>(line.with_context(|| format!("{name} was not measured"))?.cost)
    };
    for (name, least) in LEAST {
        let cost = cost(name)?;
        if cost.high < least {
            bail!("{name} costs more than is promised: {}", cost.text());
        }
    }
    Ok(())
}
