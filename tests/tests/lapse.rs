//! Enforcement through the death of its daemon, again and again, while sockets are opened all the time and others look on.
//!
//! `ENFORCER_OLDER_BINARY` names an `enforcer` whose maps have another layout, between which and this one is changed.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    env, fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use tests::{
    daemon::{Place, wait},
    fixture::{in_own_network, need_root},
    onlookers::Onlookers,
    probe::{Outcome, Probe},
    versions::layouts,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [127.0.0.77], timeout: 100ms}
";

/// Where metrics are told while others look on.
const LISTENER: &str = "127.0.0.1:9967";

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: frontend}
spec:
  hosts: [db.example.com]
  addresses: [192.0.2.10, 198.51.100.0/24]
  resolution: NONE
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

/// Between two questions of one process.
const PAUSE: Duration = Duration::from_micros(300);

const KILLS: u32 = 100;
const UPGRADES: u32 = 20;

/// Asks all the time, and returns how often, and what was answered wrongly.
fn ask(mut probe: Probe, to: &str, expected: Outcome, stop: &AtomicBool) -> Result<(u64, Vec<Outcome>)> {
    let to = to.parse()?;
    let (mut asked, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let outcome = probe.call(Transport::Tcp, to)?;
        asked += 1;
        if outcome != expected {
            wrong.push(outcome);
        }
        // Thousands a second in all, and time left for the daemon to live and die in.
        thread::park_timeout(PAUSE);
    }
    Ok((asked, wrong))
}

/// Kills the daemon at every moment of its life: before its maps, between its links, once in force.
fn kill_and_upgrade(place: &mut Place, config: &str) -> Result<()> {
    let onlookers = Onlookers::of(place, LISTENER.parse()?);
    let (mut scrapes, mut lines) = onlookers.seen();
    for kill in 0..KILLS {
        let mut child = place
            .command(&["run"])
            .stderr(std::process::Stdio::null())
            .spawn()?;
        thread::park_timeout(Duration::from_millis(u64::from(kill % 50) * 4));
        child.kill()?;
        child.wait()?;
        if kill % (KILLS / UPGRADES) == 0 {
            // Other capacities are other maps: what an upgrade to another layout comes to.
            place.configure(&format!("{config}capacities: {{workloads: {}}}\n", 1000 + kill))?;
            let mut daemon = place.start(&[])?;
            // It dies while others look on, as they do most of the time.
            wait("onlookers", || {
                let (more_scrapes, more_lines) = onlookers.seen();
                Ok(more_scrapes > scrapes && more_lines > lines)
            })?;
            (scrapes, lines) = onlookers.seen();
            daemon.end(Signal::SIGKILL)?;
        }
    }
    println!("lapse: {scrapes} scrapes, {lines} lines of monitors");
    Ok(())
}

/// Has sockets opened all the time while `change` changes the enforcer.
fn check(config: &str, change: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, config)?;
        place.write("db.yaml", ENTRY)?;
        let cgroup = place.cgroup.child("frontend")?;
        place.start(&[])?.end(Signal::SIGKILL)?;

        let stop = AtomicBool::new(false);
        let questions = [
            ("192.0.2.10:5432", Outcome::Through),
            ("198.51.100.7:5432", Outcome::Through),
            ("192.0.2.11:5432", Outcome::Refused(libc::EPERM)),
        ];
        let answers = thread::scope(|scope| -> Result<Vec<_>> {
            let mut threads = Vec::new();
            for (to, expected) in questions {
                let probe = Probe::start(BINARY.as_ref(), &cgroup)?;
                let stop = &stop;
                threads.push(scope.spawn(move || ask(probe, to, expected, stop)));
            }
            let changed = change(&mut place);
            stop.store(true, Ordering::Relaxed);
            changed?;
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })?;
        for ((to, expected), (asked, wrong)) in questions.iter().zip(&answers) {
            println!("lapse: {to}: {asked} verdicts, {} not {expected:?}", wrong.len());
            assert!(*asked > 1000, "{to} was asked for {asked} times only");
            assert!(
                wrong.is_empty(),
                "{to}: {} wrong among {asked}, the first {:?}",
                wrong.len(),
                wrong[0]
            );
        }
        let kept = fs::read_dir(place.bpffs().join("enforcer"))?.count();
        assert!(
            kept <= 3,
            "links and the newest maps are kept, and at most one generation before: {kept}"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn no_verdict_is_wrong_through_a_hundred_kills_and_twenty_upgrades() {
    let config = format!("{CONFIG}metrics: {{listen: '{LISTENER}'}}\n");
    check(&config, |place| kill_and_upgrade(place, &config));
}

#[test]
fn no_verdict_is_wrong_through_twenty_changes_to_an_older_layout_and_back() {
    let Some(older) = env::var_os("ENFORCER_OLDER_BINARY") else {
        println!("SKIPPED: ENFORCER_OLDER_BINARY names no enforcer whose maps have an older layout");
        return;
    };
    check(CONFIG, |place| {
        for _ in 0..UPGRADES {
            place.enforcer = older.clone().into();
            place.start(&[])?.end(Signal::SIGTERM)?;
            let old = layouts(place)?;
            place.enforcer = BINARY.into();
            place.start(&[])?.end(Signal::SIGKILL)?;
            let new = layouts(place)?;
            assert_ne!(old, new, "they have one layout");
        }
        println!("lapse: {UPGRADES} changes to an older layout, and as many back");
        Ok(())
    });
}
