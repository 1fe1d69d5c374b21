//! One workload against all others: what it does takes nothing from what is enforced, proven, revoked and told for
//! another one, nor from who asks.
//!
//! `ENFORCER_SIEGE_SECONDS` says for how long; some seconds without it.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::control;
use enforcer_common::Transport;
use tests::{
    daemon::{Daemon, PATIENCE, Place},
    fixture::{in_own_network, need_root},
    hostile::Hostile,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: hostile, name: bot, cgroup: $CGROUP/root/hostile}
- {namespace: frontend, name: web, cgroup: $CGROUP/root/web}
- {namespace: frontend, name: poll, cgroup: $CGROUP/root/poll}
roots: [$CGROUP/root]
dns: {servers: [192.0.2.53], timeout: 100ms}
";

/// How long it goes on by default.
const SHORT: Duration = Duration::from_secs(12);

/// Hostile processes: more threads than there are processors.
const PROCESSES: u32 = 2;

/// What has to hold meanwhile.
const PROOF_AGE: f64 = 6.0;
const ANSWER: Duration = Duration::from_secs(1);
const REVOCATION: Duration = Duration::from_secs(1);

/// What the daemon may take beyond what it had before, in KiB: 24 MiB.
const MEMORY: u64 = 24 << 10;

/// What was seen at worst.
#[derive(Default)]
struct Worst {
    rounds: usize,
    proof_age: f64,
    answer: Duration,
    /// Of each round.
    revocations: Vec<Duration>,
    memory: u64,
}

impl Worst {
    /// Prints the figures, and says which of them must not be; `before` is the memory in KiB without the hostile one.
    fn failures(&mut self, before: u64) -> Vec<String> {
        self.revocations.sort();
        let (median, most) = (
            self.revocations
                .get(self.revocations.len() / 2)
                .copied()
                .unwrap_or_default(),
            self.revocations.last().copied().unwrap_or_default(),
        );
        let late = self
            .revocations
            .iter()
            .filter(|took| **took >= REVOCATION)
            .count();
        let Self {
            rounds,
            proof_age,
            answer,
            memory,
            ..
        } = self;
        println!(
            "{rounds} rounds; at most: proof {proof_age:.1} s old, status after {answer:.0?}, revocation after {most:.0?} \
             (half of them {median:.0?}, {late} not within {REVOCATION:?}), memory {memory} KiB (before: {before})"
        );
        let checks = [
            (*proof_age < PROOF_AGE, "a proof was too old"),
            (*answer < ANSWER, "the status came too late"),
            (late == 0, "a connection ended too late"),
            (*memory < before + MEMORY, "there is too much in memory"),
        ];
        let failed = checks.iter().filter(|(holds, _)| !holds);
        failed.map(|(_, what)| (*what).to_owned()).collect()
    }
}

#[test]
fn hostile_workload_takes_nothing_from_another() {
    need_root().unwrap();
    let seconds = std::env::var("ENFORCER_SIEGE_SECONDS").ok();
    let length = seconds.map_or(SHORT, |text| Duration::from_secs(text.parse().unwrap()));
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        // Processors are not what is fought for: how much of them each may have is the business of the cgroups, which
        // on a node do not share them evenly.
        place.under = ["nice", "-n", "-10"].map(String::from).into();
        let hostile = place.cgroup.child("root/hostile")?;
        place.cgroup.child("root/web")?;
        place.cgroup.child("root/poll")?;
        let server = TcpListener::bind("0.0.0.0:5432")?;
        thread::spawn(move || server.incoming().collect::<Vec<_>>());
        let mut daemon = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        // So that what is measured is not how a process begins.
        let mut worst = Worst::default();
        round(&mut place, &daemon, &mut worst)?;
        let before = memory(&daemon)?;

        let mut worst = Worst {
            rounds: worst.rounds,
            ..Worst::default()
        };
        let mut hostile = Hostile::start(Path::new(BINARY), &hostile, PROCESSES)?;
        let end = Instant::now() + length;
        let outcome = loop {
            let outcome = round(&mut place, &daemon, &mut worst).and_then(|()| hostile.is_there());
            if outcome.is_err() || Instant::now() > end {
                break outcome;
            }
        };
        drop(hostile);
        let told = outcome.and_then(|()| {
            what_was_left_out_is_told(&place, &mut daemon)?;
            every_refusal_was_told(&mut daemon, worst.rounds)
        });
        let mut all = worst.failures(before);
        all.extend(told.err().map(|error| format!("{error:#}")));
        ensure!(all.is_empty(), "{}", all.join("\n"));
        Ok(())
    })
    .unwrap();
}

/// One entry of the other workload that comes and goes, and a refusal beside it; and the enforcer is asked.
fn round(place: &mut Place, daemon: &Daemon, worst: &mut Worst) -> Result<()> {
    let number = worst.rounds;
    worst.rounds += 1;
    ask(place, worst)?;
    let address = format!("192.0.2.{}:5432", 1 + number % 250);
    place.write("entry.yaml", &entry(&address))?;
    // Who tries again and again is refused beyond its share of the log, which is another's and not the one's in question.
    place.until("root/poll", &address, true)?;
    place.until("root/web", &address, true)?;
    place.probe("root/web")?.hold(Transport::Tcp, address.parse()?)?;
    ensure!(!place.reaches("root/web/inner", &stranger(number))?);
    ask(place, worst)?;
    place.remove("entry.yaml")?;
    let start = Instant::now();
    let errno = place.probe("root/web")?.held_errno(PATIENCE)?;
    ensure!(
        errno == Some(libc::ECONNABORTED),
        "the connection of a removed entry came to {errno:?} within {PATIENCE:?}"
    );
    worst.revocations.push(start.elapsed());
    worst.memory = worst.memory.max(memory(daemon)?);
    Ok(())
}

/// Refused, and never the same twice.
fn stranger(number: usize) -> String {
    format!("203.0.113.{}:{}", 1 + number % 250, 1000 + number / 250)
}

fn entry(address: &str) -> String {
    let address = address.trim_end_matches(":5432");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: db, namespace: frontend}}\nspec:\n  \
         hosts: [db.example.com]\n  exportTo: ['.']\n  addresses: [{address}]\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

fn ask(place: &Place, worst: &mut Worst) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    let status = runtime.block_on(control::ask(&place.state()))?;
    worst.answer = worst.answer.max(start.elapsed());
    let age = status.proof_age_seconds.context("nothing was proven")?;
    worst.proof_age = worst.proof_age.max(age);
    ensure!(status.proven, "{:?}", status.problems);
    Ok(())
}

/// The log and the status name the hostile workload, with how much was not logged of it, and not the other.
fn what_was_left_out_is_told(place: &Place, daemon: &mut Daemon) -> Result<()> {
    let line = daemon.line(&["hostile/bot", "events were not logged"])?;
    let status = place.until_status("count", |status| !status.events_suppressed.is_empty())?;
    let named: Vec<_> = status
        .events_suppressed
        .iter()
        .map(|suppressed| suppressed.workload.as_str())
        .collect();
    println!(
        "{line}\n{:?}, lost {}",
        status.events_suppressed, status.events_lost
    );
    ensure!(
        named.first() == Some(&"hostile/bot") && !named.contains(&"frontend/web"),
        "{named:?}"
    );
    Ok(())
}

fn every_refusal_was_told(daemon: &mut Daemon, rounds: usize) -> Result<()> {
    daemon.lines();
    let told: BTreeSet<_> = daemon.seen.iter().filter_map(|line| refused(line)).collect();
    let missing: Vec<_> = (0..rounds)
        .map(stranger)
        .filter(|to| !told.contains(to.as_str()))
        .collect();
    println!(
        "lines {}, no line tells of {} of {rounds} refusals",
        daemon.seen.len(),
        missing.len()
    );
    ensure!(missing.is_empty(), "no line tells of {missing:?}");
    Ok(())
}

/// Where a line says that the other workload wanted to go.
fn refused(line: &str) -> Option<&str> {
    let (_, refusal) = line.split_once("denied frontend/web ")?;
    let (_, to) = refusal.split_once(" -> tcp ")?;
    to.split(": ").next()
}

/// What the daemon has in memory now, in KiB.
fn memory(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?)
}
