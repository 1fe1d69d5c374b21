//! What the daemon may do, and that it can do its work with no more.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{fs, net::TcpListener};

use anyhow::{Context as _, Result};
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use tests::{
    daemon::{Daemon, PATIENCE, Place},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
- {namespace: frontend, name: late, cgroup: $CGROUP/late}
dns: {servers: [127.0.0.77], timeout: 100ms}
";

const DB: &str = "192.0.2.10:5432";

/// Bit numbers of `linux/capability.h`, as `setpriv` names them.
const ALWAYS: [(&str, u32); 3] = [("bpf", 39), ("perfmon", 38), ("net_admin", 12)];
const TO_REVOKE: [(&str, u32); 2] = [("sys_admin", 21), ("sys_ptrace", 19)];
const AT_TIMES: (&str, u32) = ("dac_override", 1);

fn all() -> Vec<(&'static str, u32)> {
    ALWAYS.into_iter().chain(TO_REVOKE).chain([AT_TIMES]).collect()
}

fn entry(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\nspec:\n  \
         hosts: [{name}.example.com]\n  addresses: [{address}]\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.write("db.yaml", &entry("db", "192.0.2.10"))?;
        place.cgroup.child("frontend")?;
        let listener = TcpListener::bind(DB)?;
        std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        claim(&mut place)
    })
    .unwrap();
}

/// A command under which a program has these capabilities at most.
fn only(capabilities: &[(&str, u32)]) -> Vec<String> {
    let plus: String = capabilities.iter().map(|(name, _)| format!(",+{name}")).collect();
    ["setpriv", "--inh-caps=-all", "--bounding-set"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("-all{plus}")])
        .collect()
}

fn mask(capabilities: &[(&str, u32)]) -> u64 {
    capabilities.iter().fold(0, |mask, (_, bit)| mask | 1 << bit)
}

/// Every thread has these capabilities, and none can gain others. Its bound are those that it began with, if it may
/// not change that.
fn check_threads(daemon: &Daemon, capabilities: &[(&str, u32)], bound: &[(&str, u32)]) -> Result<()> {
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", daemon.pid()))? {
        // A thread that has ended since the folder was read has nothing to show.
        let Ok(status) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(u64::from_str_radix(line.context("no such field")?.trim(), 16)?)
        };
        for (set, expected) in [
            ("CapEff:", capabilities),
            ("CapPrm:", capabilities),
            ("CapBnd:", bound),
            ("CapInh:", &[]),
            ("CapAmb:", &[]),
        ] {
            assert_eq!(field(set)?, mask(expected), "{set} {status}");
        }
        assert_eq!(field("NoNewPrivs:")?, 1);
        threads += 1;
    }
    assert!(threads > 2, "there are {threads} threads");
    Ok(())
}

/// Enforces, reloads, attaches to a cgroup that appears, and ends what is no longer allowed.
fn check_work(place: &mut Place, daemon: &mut Daemon) -> Result<()> {
    assert!(place.reaches("frontend", DB)? && !place.reaches("frontend", "192.0.2.11:5432")?);
    place.write("more.yaml", &entry("more", "192.0.2.11"))?;
    place.until("frontend", "192.0.2.11:5432", true)?;
    place.until("late", "192.0.2.12:5432", false)?;
    assert!(place.reaches("late", "192.0.2.11:5432")?);
    place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
    place.remove("db.yaml")?;
    let ended = place.probe("frontend")?.held_errno(PATIENCE)?;
    assert_eq!(ended, Some(libc::ECONNABORTED), "{:#?}", daemon.lines());
    place.remove_cgroup("late")?;
    place.write("db.yaml", &entry("db", "192.0.2.10"))?;
    place.remove("more.yaml")?;
    place.until("frontend", DB, true)?;
    Ok(())
}

#[test]
fn work_is_done_with_exactly_the_capabilities_that_are_asked_for() {
    check(|place| {
        place.under = only(&all());
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            // The second start takes up what the first has left.
            let mut daemon = place.start(&[])?;
            check_threads(&daemon, &all(), &all())?;
            check_work(place, &mut daemon)?;
            check_threads(&daemon, &all(), &all())?;
            daemon.lines();
            let complaints: Vec<_> = daemon
                .seen
                .iter()
                .filter(|line| line.contains("missing"))
                .collect();
            assert!(complaints.is_empty(), "{complaints:#?}");
            daemon.end(signal)?;
        }
        Ok(())
    });
}

#[test]
fn root_gives_up_what_it_does_not_need() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        check_threads(&daemon, &all(), &all())?;
        check_work(place, &mut daemon)?;
        check_threads(&daemon, &all(), &all())
    });
}

#[test]
fn without_revocation_its_capabilities_are_given_up_too() {
    check(|place| {
        let config = fs::read_to_string(place.config())?;
        place.configure(&format!("{config}revoke: false\n"))?;
        let daemon = place.start(&[])?;
        let kept: Vec<_> = ALWAYS.into_iter().chain([AT_TIMES]).collect();
        check_threads(&daemon, &kept, &kept)
    });
}

#[test]
fn missing_capability_without_which_nothing_is_enforced_is_named() {
    check(|place| {
        for missing in ALWAYS {
            let rest: Vec<_> = all().into_iter().filter(|it| *it != missing).collect();
            place.under = only(&rest);
            let refusal = place.refusal(&["--ephemeral"])?;
            let name = format!("missing CAP_{} (to ", missing.0.to_uppercase());
            assert!(
                refusal.contains(&name) && refusal.contains("run as root or grant"),
                "{refusal}"
            );
            assert_eq!(
                refusal.lines().filter(|line| line.contains("error:")).count(),
                1,
                "{refusal}"
            );
        }
        Ok(())
    });
}

#[test]
fn without_the_capabilities_of_revocation_it_is_off_and_that_is_said() {
    check(|place| {
        for missing in TO_REVOKE {
            let rest: Vec<_> = all().into_iter().filter(|it| *it != missing).collect();
            place.under = only(&rest);
            let mut daemon = place.start(&["--ephemeral"])?;
            let name = format!("missing CAP_{}", missing.0.to_uppercase());
            daemon.line(&[&name, "stay open"])?;
            assert!(place.reaches("frontend", DB)? && !place.reaches("frontend", "192.0.2.11:5432")?);
            let kept: Vec<_> = ALWAYS.into_iter().chain([AT_TIMES]).collect();
            check_threads(&daemon, &kept, &rest)?;
        }
        Ok(())
    });
}

#[test]
fn without_rights_over_other_users_files_work_is_done_and_that_is_said() {
    check(|place| {
        let rest: Vec<_> = ALWAYS.into_iter().chain(TO_REVOKE).collect();
        place.under = only(&rest);
        let mut daemon = place.start(&[])?;
        daemon.line(&["running without CAP_DAC_OVERRIDE"])?;
        check_threads(&daemon, &rest, &rest)?;
        check_work(place, &mut daemon)
    });
}
