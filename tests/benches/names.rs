//! What the programs that learn names cost beside all others: `cargo bench -p tests --bench names`, as root; with
//! `-- questions-known` only that kind of traffic.
//!
//! Two cgroups are enforced with the same registry; at one of them the two programs are detached. Sockets of both are
//! compared in pairs, as in `throughput`. It fails where throughput is surely less than what is promised. Of questions it
//! tells by how many microseconds answers come later, question and answer together: with an address that is new to the
//! workload, with one that it knows, and with none; and how long each program ran, as the kernel counts it. It fails
//! where an answer is delayed by more than is promised, which the program `learn` alone causes. A new address is tried
//! where the workload has used up its share, so that another one is given up for it, and where the share still grows.

use std::env;

use anyhow::{Result, bail};
use enforcer_common::maps::LEARNED_CAPACITY;
use tests::{
    fixture::{Bpffs, TestCgroup, in_own_network, need_root, runs::Counted},
    stream::{
        self,
        enforced::{enforce, enforce_with_share, enforce_without_learning},
    },
};

/// What is promised of throughput, with over without.
const LEAST: [(&str, f64); 2] = [("tcp", 0.99), ("udp-small", 0.97)];
/// Kinds of questions, by what they are answered with.
const QUESTIONS: [&str; 3] = ["questions", "questions-known", "questions-empty"];
/// The kind with new addresses, where the share is as large as it can be.
const GROWING: &str = "questions-growing";
/// What is promised of an answer: by how many microseconds it comes later.
const DELAY: f64 = 2.0;

fn main() -> Result<()> {
    need_root()?;
    // The bpffs is seen by nobody else.
    in_own_network(measure)
}

fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bpffs = Bpffs::mount(folder.path().join("bpffs"))?;
    let [outside, root, learning, growing] = [
        TestCgroup::new()?,
        TestCgroup::new()?,
        TestCgroup::new()?,
        TestCgroup::new()?,
    ];
    let free = outside.child("workload")?;
    let (without, with) = (root.child("workload")?, learning.child("workload")?);
    let grows = growing.child("workload")?;
    let _without = enforce_without_learning(&root, &bpffs)?;
    let _with = enforce(&learning)?;
    let _growing = enforce_with_share(&growing, LEARNED_CAPACITY)?;
    println!("with the programs that learn names, over or later than without: median [95 % interval]");
    let program = env!("CARGO_BIN_EXE_enforcer-test");
    let cgroups = [free.as_path(), without.as_path(), with.as_path()];
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_asked_for = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    for (name, least) in LEAST.into_iter().filter(|(name, _)| is_asked_for(name)) {
        for line in stream::run(program, cgroups, &[name])? {
            if line.cost.high < least {
                bail!("{name} costs more than is promised: {}", line.cost.text());
            }
        }
    }
    let counted = Counted::begin()?;
    let of_growing = [free.as_path(), without.as_path(), grows.as_path()];
    let kinds = QUESTIONS.map(|kind| (kind, kind, cgroups));
    let kinds = kinds.into_iter().chain([(GROWING, QUESTIONS[0], of_growing)]);
    for (name, kind, cgroups) in kinds.filter(|(name, ..)| is_asked_for(name)) {
        let (_, runs) = counted.during(&["ask", "learn"], || stream::run(program, cgroups, &[kind]))?;
        let [ask, learn] = [runs[0].mean(), runs[1].mean()];
        println!("{name}: ask {ask:.2} us, learn {learn:.2} us a run");
        if learn > DELAY {
            bail!("{name}: an answer is delayed by {learn:.2} us");
        }
    }
    Ok(())
}
