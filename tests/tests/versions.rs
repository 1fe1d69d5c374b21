//! Enforcers of different versions after one another: an upgrade, and the way back.
//!
//! The other version is this source with another layout of its maps. `ENFORCER_OLDER_BINARY` names a real one.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    env, fs,
    net::TcpListener,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use enforcer_common::{Transport, maps};
use nix::sys::signal::Signal;
use tests::{
    daemon::{Daemon, Place, RESOLVER},
    fixture::{in_own_network, need_root},
    naming::load::{DECLARED, DOMAINS, Load, NAMES, PORT, Round, WILDCARD},
    probe::{Outcome, Probe},
    versions::{NEXT, STRANGE, VARIABLE, layouts},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/web}
- {namespace: frontend, name: busy, cgroup: $CGROUP/busy}
- {namespace: frontend, name: quiet, cgroup: $CGROUP/quiet}
- {namespace: default, name: other, cgroup: $CGROUP/other}
dns: {servers: [192.0.2.53], timeout: 1s}
";

const DB: &str = "192.0.2.10:5432";
/// Of the same entry; somebody listens there.
const HELD: &str = "192.0.2.20:5432";

/// How often there and back.
const CHANGES: u32 = 8;

/// Starts that are killed, each so much later than the one before.
const KILLS: u32 = 12;
const MOMENT: Duration = Duration::from_millis(20);

/// Between two calls of one process.
const PAUSE: Duration = Duration::from_micros(500);

const PERMITTED: Outcome = Outcome::Through;
const REFUSED: Outcome = Outcome::Refused(libc::EPERM);

/// Who calls all the time, where to, and what comes of it.
const CALLS: [(&str, &str, Outcome); 4] = [
    ("web", DB, PERMITTED),
    ("web", "192.0.2.11:5432", REFUSED),
    ("other", DB, REFUSED),
    ("quiet", "192.0.2.11:5432", REFUSED),
];

fn entry(name: &str, spec: &str, (port, protocol): (u16, &str)) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\n\
         spec:\n  exportTo: [.]\n  {spec}\n  resolution: STATIC\n  ports: [{{number: {port}, name: p, protocol: \
         {protocol}}}]\n"
    )
}

/// With a name server, and without any enforcer yet.
fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        let wild = format!("hosts: ['{WILDCARD}']\n  endpoints: [{{address: 192.0.2.12}}]");
        let declared = format!("hosts: [declared.example.org]\n  addresses: [{DECLARED}]");
        let entries = [
            entry("wild", &wild, (PORT, "UDP")),
            entry("declared", &declared, (PORT, "UDP")),
            entry(
                "db",
                "hosts: [db.example.com]\n  addresses: [192.0.2.10, 192.0.2.20]",
                (5432, "TCP"),
            )
            .replace("STATIC", "NONE"),
        ];
        place.write("entries.yaml", &entries.concat())?;
        place.serve_names(&DOMAINS)?;
        for cgroup in ["web", "busy", "quiet", "other"] {
            place.cgroup.child(cgroup)?;
        }
        claim(&mut place)
    })
    .unwrap();
}

/// Maps that the next version goes on with: of names, of sockets and whom they may answer, of what was seen.
const KEPT: [&str; 9] = [
    maps::QUESTIONS,
    maps::LEARNED,
    maps::SLOTS,
    maps::LEARNERS,
    maps::NAMED,
    maps::SOCKETS,
    maps::PEERS,
    maps::ASKED,
    maps::SEEN,
];

/// The kernel's numbers for those that are pinned.
fn kept(place: &Place) -> Result<Vec<u32>> {
    let folders = fs::read_dir(place.bpffs().join("enforcer"))?;
    let folders: Vec<_> = folders.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let folder = folders.iter().find(|folder| folder.join(maps::LEARNED).exists());
    let folder = folder.context("no maps are pinned")?;
    let id = |name: &&str| Ok(MapInfo::from_pin(folder.join(name))?.id());
    KEPT.iter().map(id).collect()
}

/// Starts the other version, or this one.
fn start(place: &mut Place, version: Option<&str>) -> Result<Daemon> {
    place.environment.clear();
    if let Some(version) = version {
        place.environment.insert(VARIABLE.to_owned(), version.to_owned());
    }
    place.start(&[])
}

/// Has a workload ask for names for a second, as [`Load`] does.
fn ask(place: &Place, cgroup: &str) -> Result<()> {
    let mut load = Load::start(
        Path::new(BINARY),
        &place.cgroup.child(cgroup)?,
        format!("{RESOLVER}:53").parse()?,
    )?;
    let round = load.round()?;
    ensure!(round.wrong == 0, "{round:?}");
    Ok(())
}

/// Addresses that [`Load`] is given first, in its first second.
fn learned(number: u32) -> String {
    let first = std::net::Ipv4Addr::new(10, 128, 0, 1).to_bits();
    format!("{}:{PORT}", std::net::Ipv4Addr::from_bits(first + number))
}

fn are_reached(place: &mut Place, cgroup: &str) -> Result<u32> {
    let mut reached = 0;
    for number in 0..NAMES {
        reached += u32::from(place.call(cgroup, Transport::Udp, &learned(number))? == PERMITTED);
    }
    Ok(reached)
}

/// Calls all the time, and returns how often, and what came of it that should not.
fn call(mut probe: Probe, (to, expected): (&str, Outcome), stop: &AtomicBool) -> Result<(u64, Vec<Outcome>)> {
    let to = to.parse()?;
    let (mut calls, mut wrong) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let outcome = probe.call(Transport::Tcp, to)?;
        calls += 1;
        if outcome != expected {
            wrong.push(outcome);
        }
        thread::park_timeout(PAUSE);
    }
    Ok((calls, wrong))
}

/// Asks for ever other names and uses each address at once, until it is to stop.
fn learn(mut load: Load, stop: &AtomicBool) -> Result<Round> {
    let mut sum = Round::default();
    while !stop.load(Ordering::Relaxed) {
        let round = load.round()?;
        sum.answered += round.answered;
        sum.again += round.again;
        sum.wrong += round.wrong;
    }
    Ok(sum)
}

/// Changes the enforcer while workloads call and learn all the time: nothing that is wrong comes of it.
fn under_load(place: &mut Place, change: impl FnOnce(&mut Place) -> Result<()>) -> Result<()> {
    let stop = AtomicBool::new(false);
    let load = Load::start(
        Path::new(BINARY),
        &place.cgroup.child("busy")?,
        format!("{RESOLVER}:53").parse()?,
    )?;
    let (called, learned) = thread::scope(|scope| -> Result<_> {
        let stop = &stop;
        let mut callers = Vec::new();
        for (cgroup, to, expected) in CALLS {
            let probe = Probe::start(BINARY.as_ref(), &place.cgroup.child(cgroup)?)?;
            callers.push(scope.spawn(move || call(probe, (to, expected), stop)));
        }
        let learner = scope.spawn(move || learn(load, stop));
        let changed = change(place);
        stop.store(true, Ordering::Relaxed);
        changed?;
        let called: Vec<_> = callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect::<Result<_>>()?;
        Ok((called, learner.join().unwrap()?))
    })?;
    for ((cgroup, to, expected), (calls, wrong)) in CALLS.iter().zip(&called) {
        println!(
            "versions: {cgroup} -> {to}: {calls} calls, {} not {expected:?}",
            wrong.len()
        );
        ensure!(*calls > 100, "{to} was called {calls} times only");
        ensure!(
            wrong.is_empty(),
            "{cgroup} -> {to}: {} wrong, the first {:?}",
            wrong.len(),
            wrong[0]
        );
    }
    let Round {
        answered,
        again,
        wrong,
        ..
    } = learned;
    println!(
        "versions: {answered} names asked for and used at once, {again} asked for again, {wrong} wrong verdicts"
    );
    ensure!(
        wrong == 0,
        "{wrong} verdicts on addresses just learned were wrong"
    );
    Ok(())
}

#[test]
fn upgrade_and_rollback_under_load_refuse_and_allow_the_same_and_keep_what_was_learned() {
    check(|place| {
        let mut daemon = start(place, None)?;
        ask(place, "quiet")?;
        assert_eq!(are_reached(place, "quiet")?, NAMES);
        let _listener = TcpListener::bind(HELD)?;
        place.probe("web")?.hold(Transport::Tcp, HELD.parse()?)?;
        let kept = kept(place)?;

        under_load(place, |place| {
            for change in 0..CHANGES {
                let how = if change % 2 == 0 {
                    Signal::SIGTERM
                } else {
                    Signal::SIGKILL
                };
                for version in [Some(NEXT), None] {
                    let before = layouts(place)?;
                    daemon.end(how)?;
                    daemon = start(place, version)?;
                    daemon.line(&["learned addresses are taken over"])?;
                    assert_ne!(before, layouts(place)?, "they have one layout");
                    assert_eq!(kept, self::kept(place)?, "other maps than before");
                }
            }
            println!("versions: {CHANGES} upgrades, and as many rollbacks");
            Ok(())
        })?;

        place.stop_resolving()?;
        assert_eq!(
            are_reached(place, "quiet")?,
            NAMES,
            "what was learned before the first upgrade counts"
        );
        assert_eq!(
            place.call("other", Transport::Udp, &learned(0))?,
            REFUSED,
            "nobody else has learned it"
        );
        let held = place.probe("web")?.held_errno(Duration::from_millis(300))?;
        assert_eq!(held, None, "what was open is open");
        Ok(())
    });
}

#[test]
fn what_a_version_with_other_maps_has_learned_is_told_to_be_lost_and_learned_again() {
    check(|place| {
        start(place, None)?.end(Signal::SIGTERM)?;
        ask(place, "quiet")?;
        for version in [Some(STRANGE), None] {
            let mut daemon = start(place, version)?;
            daemon.line(&[
                "LEARNED",
                "of another layout",
                "are refused until they ask for the names again",
            ])?;
            assert_eq!(are_reached(place, "quiet")?, 0);
            assert!(place.reaches("web", DB)? && !place.reaches("other", DB)?);
            ask(place, "quiet")?;
            assert_eq!(are_reached(place, "quiet")?, NAMES);
            daemon.end(Signal::SIGTERM)?;
        }
        Ok(())
    });
}

#[test]
fn start_that_was_killed_between_two_versions_loses_nothing_that_was_learned() {
    check(|place| {
        start(place, None)?.end(Signal::SIGTERM)?;
        ask(place, "quiet")?;
        for kill in 0..KILLS {
            place.environment.insert(VARIABLE.to_owned(), NEXT.to_owned());
            let mut daemon = place.launch(&[])?;
            thread::park_timeout(MOMENT * kill);
            daemon.end(Signal::SIGKILL)?;
            let reached = are_reached(place, "quiet")?;
            assert_eq!(reached, NAMES, "after it was killed at {:?}", MOMENT * kill);
            if kill % 3 == 0 {
                start(place, None)?.end(Signal::SIGKILL)?;
                assert_eq!(are_reached(place, "quiet")?, NAMES, "after the start behind it");
            }
        }
        Ok(())
    });
}

#[test]
fn names_that_an_older_release_has_learned_count_after_the_upgrade() {
    let Some(older) = env::var_os("ENFORCER_OLDER_BINARY") else {
        println!("SKIPPED: ENFORCER_OLDER_BINARY names no enforcer whose maps have an older layout");
        return;
    };
    check(|place| {
        place.enforcer = older.clone().into();
        start(place, None)?.end(Signal::SIGTERM)?;
        ask(place, "quiet")?;
        place.stop_resolving()?;
        place.enforcer = BINARY.into();
        let mut daemon = start(place, None)?;
        daemon.line(&["learned addresses are taken over"])?;
        assert_eq!(are_reached(place, "quiet")?, NAMES);
        // Each tells the other's state, or that it cannot; neither fails for it.
        place.enforcer = older.into();
        let said = place.command(&["status"]).output()?;
        ensure!(
            said.status.code() == Some(0),
            "the older one's `status`: {said:?}"
        );
        Ok(())
    });
}

/// What another version, or something else, has left in the place of a state file, and what is said of it.
const LEFT: [(&str, &[u8], &[&str]); 7] = [
    (
        "names.json",
        br#"{"version": 2, "known.example.com": ["192.0.2.30"], "new.example.com": {"addresses": ["192.0.2.31"]}}"#,
        &["2 of 3 entries of", "names.json", "of another version"],
    ),
    ("names.json", b"{\"known.example.com\": [\"192.0", &["cannot read", "names.json"]),
    ("names.json", b"\x7fELF\x02\x01\x00", &["cannot read", "names.json"]),
    ("former.json", br#"{"a.example.com": {"since": 7}}"#, &["1 of 1 entries of", "former.json"]),
    ("former.json", b"[[[[", &["cannot read", "former.json"]),
    (
        "observed.jsonl",
        b"{\"what\": \"a later version has\"}\n",
        &["1 lines of", "observed.jsonl", "of another version"],
    ),
    ("observed.jsonl", b"\xff\xfe\n{\"workl", &["2 lines of", "observed.jsonl"]),
];

#[test]
fn state_file_of_another_version_or_of_none_is_told_and_no_obstacle() {
    check(|place| {
        let observed = place.state().join("observed.jsonl");
        let config = format!("{CONFIG}observe: {{file: {}}}\n", observed.display());
        place.configure(&config)?;
        let hosts = "hosts: [known.example.com]\n  location: MESH_EXTERNAL";
        let known = entry("known", hosts, (443, "TLS")).replace("STATIC", "DNS");
        place.write("known.yaml", &known)?;
        place.stop_resolving()?;
        start(place, None)?.end(Signal::SIGTERM)?;
        for (file, content, words) in LEFT {
            let path = place.state().join(file);
            fs::write(&path, content)?;
            let mut daemon = start(place, None)?;
            daemon
                .line(words)
                .with_context(|| format!("{file} with {content:?}"))?;
            assert!(place.reaches("web", DB)? && !place.reaches("other", DB)?);
            // What is understood counts.
            let is_known = content.starts_with(b"{\"version\"");
            assert_eq!(place.reaches("web", "192.0.2.30:443")?, is_known, "{content:?}");
            assert!(!place.reaches("web", "192.0.2.31:443")?);
            daemon.end(Signal::SIGTERM)?;
            fs::remove_file(&path).ok();
        }
        Ok(())
    });
}

#[test]
fn configuration_of_the_version_before_is_accepted_with_a_warning_and_never_both_keys() {
    check(|place| {
        let old = format!("{CONFIG}pods: {{node: n1}}\n");
        place.configure(&old)?;
        let warning = "pods.node has moved: write `node` instead";
        let output = place.command(&["check"]).output()?;
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(0) && said.contains(warning),
            "{output:?}"
        );
        let mut daemon = start(place, None)?;
        daemon.line(&["configuration, line ", warning])?;
        daemon.end(Signal::SIGTERM)?;
        place.configure(&format!("{old}node: n1\n"))?;
        let output = place.command(&["check"]).output()?;
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{output:?}");
        ensure!(
            said.contains("pods.node has moved to `node`, which is given too: leave pods.node out"),
            "{said}"
        );
        Ok(())
    });
}
