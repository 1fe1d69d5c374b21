//! A workload that asks for names which nobody has asked for before, and for names below a registered wildcard, all the
//! time: neither the enforcer's memory nor the time of a verdict grows.
//!
//! `ENFORCER_NAMES_SECONDS` says for how long; some seconds without it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use tests::{
    daemon::{Daemon, Place, RESOLVER},
    fixture::{in_own_network, need_root},
    naming::load::{DECLARED, DOMAINS, Load, NAMES, PORT, Round, WILDCARD},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [192.0.2.53], timeout: 1s}
";

/// How many rounds of a second by default, and at least.
const ROUNDS: usize = 12;

/// Rounds that are not measured: the first events and names are new to the enforcer, too.
const WARM_UP: usize = 4;

/// After how many rounds it says where it is.
const MINUTES: usize = 300;

/// What the enforcer may take beyond what it had after the first rounds, in KiB.
const MEMORY: u64 = 8 << 10;

/// How much longer a verdict may take in the last half of the rounds than in the first: each the least of the rounds'
/// medians, over that of a verdict no name decides. What else the machine does can make a round longer, and never
/// shorter, and makes both longer.
const SLOWER: f64 = 1.5;

#[test]
fn names_that_were_never_seen_move_neither_memory_nor_the_time_of_a_verdict() {
    need_root().unwrap();
    let seconds = std::env::var("ENFORCER_NAMES_SECONDS").ok();
    let rounds = seconds.map_or(ROUNDS, |text| text.parse::<usize>().unwrap().max(ROUNDS));
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.write("entries.yaml", &entries())?;
        place.serve_names(&DOMAINS)?;
        let cgroup = place.cgroup.child("frontend")?;
        let mut daemon = place.start(&[])?;
        let mut load = Load::start(Path::new(BINARY), &cgroup, format!("{RESOLVER}:53").parse()?)?;
        for _ in 0..WARM_UP {
            load.round()?;
        }
        let before = memory(&daemon)?;
        let (mut seen, mut most) = (Vec::new(), 0);
        for _ in WARM_UP..rounds {
            seen.push(load.round()?);
            most = most.max(memory(&daemon)?);
            if seen.len() % MINUTES == 0 {
                println!(
                    "names: {} s, {before} KiB before, {} KiB now",
                    seen.len(),
                    memory(&daemon)?
                );
            }
        }
        judge(&seen, before, most)?;
        // What is refused is told by its name, as far as it is told.
        daemon.line(&["denied frontend/web", "-> udp n-10-", ".unknown.example.net (10."])?;
        Ok(())
    })
    .unwrap();
}

fn judge(rounds: &[Round], before: u64, most: u64) -> Result<()> {
    let answered: u32 = rounds.iter().map(|round| round.answered).sum();
    let again: u32 = rounds.iter().map(|round| round.again).sum();
    let wrong: u32 = rounds.iter().map(|round| round.wrong).sum();
    println!(
        "names: {answered} never seen, {:.0} a second, half of them below a wildcard; {again} asked for again; {wrong} \
         wrong verdicts; memory {before} KiB before, at most {most} KiB",
        f64::from(answered) / rounds.len() as f64
    );
    let (first, last) = rounds.split_at(rounds.len() / 2);
    let mut slower = Vec::new();
    for (kind, what) in ["declared", "learned", "refused"].iter().enumerate() {
        let (at_first, at_last) = (over_loopback(first, kind), over_loopback(last, kind));
        let told =
            format!("a {what} address takes {at_first:.2} of one on loopback, in the end {at_last:.2}");
        println!("names: a verdict on {told}");
        if at_last > at_first * SLOWER {
            slower.push(told);
        }
    }
    ensure!(wrong == 0, "{wrong} verdicts were wrong");
    ensure!(
        most < before + MEMORY,
        "the memory has grown from {before} to {most} KiB"
    );
    ensure!(slower.is_empty(), "verdicts take longer: {}", slower.join("; "));
    let wanted = 2 * NAMES * u32::try_from(rounds.len())?;
    ensure!(answered == wanted, "{answered} of {wanted} names were answered");
    Ok(())
}

fn over_loopback(rounds: &[Round], kind: usize) -> f64 {
    let decided = rounds.iter().map(|round| round.medians[kind]).min();
    let loopback = rounds.iter().map(|round| round.loopback).min();
    decided.unwrap_or_default().as_secs_f64() / loopback.unwrap_or_default().as_secs_f64()
}

fn entries() -> String {
    let entry = |name: &str, spec: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\n\
             spec:\n  {spec}\n  resolution: STATIC\n  ports: [{{number: {PORT}, name: udp, protocol: UDP}}]\n"
        )
    };
    // Without an endpoint, a UDP port of an entry without addresses is every address.
    let wild = entry(
        "wild",
        &format!("hosts: ['{WILDCARD}']\n  endpoints: [{{address: 192.0.2.11}}]"),
    );
    wild + &entry(
        "declared",
        &format!("hosts: [declared.example.org]\n  addresses: [{DECLARED}]"),
    )
}

/// What the process has in memory, in KiB.
fn memory(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.context("no VmRSS")?.parse().context("VmRSS")
}
