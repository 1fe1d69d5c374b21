//! What can go wrong around the daemon: each is a clear error or no event at all, never a wrong verdict.
//!
//! A bpffs has no size that a mount option could set, and the build machine's memory is not to be exhausted: what a
//! full bpffs and a kernel without memory answer is given by a filter before `bpf(2)`.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer::proof;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use tests::{
    daemon::{Daemon, Place, wait},
    fault,
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
roots: [$CGROUP]
dns: {servers: [127.0.0.77], timeout: 100ms}
";

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

const DB: &str = "192.0.2.10:5432";
const NETWORK: &str = "198.51.100.7:5432";
const STRANGER: &str = "192.0.2.11:5432";

fn pins(place: &Place) -> PathBuf {
    place.bpffs().join("enforcer")
}

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.write("db.yaml", ENTRY)?;
        place.cgroup.child("frontend")?;
        claim(&mut place)
    })
    .unwrap();
}

/// Runs `claim` where an enforcer has pinned everything and was killed.
fn check_pinned(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    check(|place| {
        place.start(&[])?.end(Signal::SIGKILL)?;
        check_verdicts(place)?;
        claim(place)
    });
}

fn check_verdicts(place: &mut Place) -> Result<()> {
    for (path, to, reaches) in [
        ("frontend", DB, true),
        ("frontend", NETWORK, true),
        ("frontend", STRANGER, false),
        ("stranger", DB, false),
    ] {
        assert_eq!(place.reaches(path, to)?, reaches, "{path} -> {to}");
    }
    Ok(())
}

/// An enforcer that must not start says so in one line that has all of `words`.
fn check_refusal(place: &Place, arguments: &[&str], words: &[&str]) -> Result<()> {
    let said = place.refusal(arguments)?;
    let error = said.lines().find(|line| line.contains("error: "));
    let error = error.with_context(|| format!("there is no error in {said}"))?;
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error}");
    }
    Ok(())
}

/// A start as if nothing had happened.
fn check_start(place: &mut Place) -> Result<()> {
    place.under = Vec::new();
    let _daemon = place.start(&[])?;
    check_verdicts(place)
}

#[test]
fn bpffs_that_is_not_mounted_is_named_with_the_command_that_mounts_it() {
    check(|place| {
        umount2(&place.bpffs(), MntFlags::empty())?;
        check_refusal(
            place,
            &[],
            &["no bpffs is mounted at", "mount -t bpf", "--ephemeral"],
        )?;
        let _daemon = place.start(&["--ephemeral"])?;
        check_verdicts(place)
    });
}

#[test]
fn bpffs_that_is_read_only_is_named_with_the_command_that_changes_it() {
    check_pinned(|place| {
        let remount = |flags| mount(None::<&str>, &place.bpffs(), None::<&str>, flags, None::<&str>);
        remount(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY)?;
        check_refusal(place, &[], &["is read-only", "remount,rw"])?;
        check_verdicts(place)?;
        let detach = place.command(&["detach"]).output()?;
        assert!(!detach.status.success());
        assert!(String::from_utf8(detach.stderr)?.contains("is read-only"));
        check_verdicts(place)?;
        mount(
            None::<&str>,
            &place.bpffs(),
            None::<&str>,
            MsFlags::MS_REMOUNT,
            None::<&str>,
        )?;
        check_start(place)
    });
}

#[test]
fn bpffs_that_takes_nothing_more_is_a_clear_error_and_changes_no_verdict() {
    check(|place| {
        place.under = fault::failing(BINARY, fault::PIN, libc::ENOSPC);
        check_refusal(place, &[], &["pin", "No space left on device"])?;
        assert!(place.reaches("frontend", STRANGER)?, "nothing was ever enforced");
        check_start(place)?;
        // An upgrade that cannot pin its maps.
        let config = fs::read_to_string(place.config())?;
        place.configure(&format!("{config}capacities: {{workloads: 1000}}\n"))?;
        place.under = fault::failing(BINARY, fault::PIN, libc::ENOSPC);
        check_refusal(place, &[], &["pin", "No space left on device"])?;
        check_verdicts(place)?;
        check_start(place)
    });
}

#[test]
fn kernel_without_memory_for_maps_is_a_clear_error_and_changes_no_verdict() {
    check_pinned(|place| {
        let config = fs::read_to_string(place.config())?;
        place.configure(&format!("{config}capacities: {{exact: 16777216}}\n"))?;
        place.under = fault::failing(BINARY, fault::MAP_CREATE, libc::ENOMEM);
        check_refusal(
            place,
            &[],
            &[
                "does not make the map",
                "Cannot allocate memory",
                "lower `capacities`",
            ],
        )?;
        check_verdicts(place)?;
        place.configure(&config)?;
        check_start(place)
    });
}

#[test]
fn kernel_that_takes_no_change_is_a_clear_error_and_changes_no_verdict() {
    check_pinned(|place| {
        place.under = fault::failing(BINARY, fault::MAP_UPDATE, libc::ENOMEM);
        check_refusal(place, &[], &["Cannot allocate memory"])?;
        check_verdicts(place)?;
        check_start(place)
    });
}

#[test]
fn start_that_fails_leaves_nothing_behind_that_was_not_there() {
    check(|place| {
        for command in [fault::MAP_UPDATE, fault::PIN] {
            place.under = fault::failing(BINARY, command, libc::ENOMEM);
            check_refusal(place, &[], &["Cannot allocate memory"])?;
            assert!(!pins(place).exists(), "after a failure of {command}");
        }
        // Beside what an earlier start has left: other capacities mean maps of its own.
        place.under.clear();
        place.start(&[])?.end(Signal::SIGKILL)?;
        let list = |folder: &Path| -> Result<BTreeSet<_>> {
            let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
            entries.collect()
        };
        let before = (list(&pins(place))?, list(&pins(place).join("links"))?);
        let config = fs::read_to_string(place.config())?;
        place.configure(&format!("{config}capacities: {{workloads: 512}}\n"))?;
        place.under = fault::failing(BINARY, fault::MAP_UPDATE, libc::ENOMEM);
        check_refusal(place, &[], &["Cannot allocate memory"])?;
        assert_eq!((list(&pins(place))?, list(&pins(place).join("links"))?), before);
        place.configure(&config)?;
        check_start(place)
    });
}

#[test]
fn change_that_fails_again_and_again_is_reported_once_and_harms_no_other() {
    check(|place| {
        place.write(
            "other.yaml",
            &ENTRY
                .replace("name: db", "name: other")
                .replace("192.0.2.10, ", "192.0.2.20, "),
        )?;
        place.under = fault::failing(BINARY, fault::MAP_DELETE, libc::ENOMEM);
        let mut daemon = place.start(&[])?;
        place.remove("other.yaml")?;
        daemon.line(&["ERROR", "not all changes are in force", "Cannot allocate memory"])?;
        // Longer than the pause after which it is tried again, twice.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            check_verdicts(place)?;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        // What comes meanwhile is in force: additions are first in every plan.
        place.write(
            "more.yaml",
            &ENTRY
                .replace("name: db", "name: more")
                .replace("192.0.2.10, ", "192.0.2.30, "),
        )?;
        place.until("frontend", "192.0.2.30:5432", true)?;
        daemon.lines();
        let errors: Vec<_> = daemon.seen.iter().filter(|line| line.contains("ERROR")).collect();
        let of_proof = errors
            .iter()
            .filter(|line| line.contains("the self-proof failed"))
            .count();
        // What was seen cannot be taken out of its map either.
        let of_seen = errors
            .iter()
            .filter(|line| line.contains("what workloads were seen to reach"))
            .count();
        assert!(
            of_proof <= 1 && of_seen <= 1 && errors.len() - of_proof - of_seen == 1,
            "{:#?}",
            daemon.seen
        );
        Ok(())
    });
}

#[test]
fn locked_down_kernel_is_a_clear_error_and_changes_no_verdict() {
    check_pinned(|place| {
        place.under = fault::failing(BINARY, fault::ALL, libc::EPERM);
        check_refusal(place, &[], &["not permitted"])?;
        check_refusal(place, &["--ephemeral"], &["not permitted"])?;
        check_verdicts(place)?;
        place.under = fault::failing(BINARY, fault::MAP_CREATE, libc::EPERM);
        check_refusal(place, &[], &["does not make the map", "locked down"])?;
        check_verdicts(place)?;
        check_start(place)
    });
}

#[test]
fn cgroup_that_is_removed_while_in_use_is_enforced_again_when_it_comes_back() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        for _ in 0..3 {
            check_verdicts(place)?;
            place.remove_cgroup("frontend")?;
            place.until("frontend", DB, true)?;
        }
        // The root itself, with everything below it.
        for name in ["frontend", "stranger"] {
            place.remove_cgroup(name)?;
        }
        tests::fixture::remove(place.cgroup.folder())?;
        daemon.line(&["is gone from"])?;
        place.until("frontend", STRANGER, false)?;
        // Refused as every unknown cgroup is, until its policy is in force.
        place.until("frontend", DB, true)?;
        check_verdicts(place)?;
        check_no_error(&mut daemon);
        Ok(())
    });
}

/// The self-proof is at work below the root when that goes.
#[test]
fn root_that_is_removed_while_it_is_proven_is_no_failure() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        let canary = place.cgroup.folder().join(proof::CGROUP);
        for _ in 0..3 {
            let deadline = Instant::now() + 4 * proof::INTERVAL;
            while !canary.exists() {
                assert!(Instant::now() < deadline, "the root is not proven");
                std::thread::yield_now();
            }
            place.remove_cgroup("frontend")?;
            tests::fixture::remove(place.cgroup.folder())?;
            place.until("frontend", STRANGER, false)?;
            place.until("frontend", DB, true)?;
            place.until_status("proof of the root", |status| status.proven)?;
        }
        check_no_error(&mut daemon);
        Ok(())
    });
}

fn check_no_error(daemon: &mut Daemon) {
    daemon.lines();
    let errors: Vec<_> = daemon.seen.iter().filter(|line| line.contains("ERROR")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Open files and resident memory, in bytes, of a process.
fn held(daemon: &Daemon) -> Result<(usize, u64)> {
    let folder = Path::new("/proc").join(daemon.pid().to_string());
    let files = fs::read_dir(folder.join("fd"))?.count();
    let status = fs::read_to_string(folder.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok((files, kilobytes << 10))
}

/// Fails if a process holds more than before.
fn check_held(daemon: &Daemon, (files, memory): (usize, u64)) -> Result<()> {
    // The self-proof and questions to resolvers have files open for a moment, at any moment.
    wait("time with no more open files than before", || {
        Ok(held(daemon)?.0 <= files)
    })?;
    let (_, memory_after) = held(daemon)?;
    println!("memory {memory} -> {memory_after}");
    assert!(
        memory_after < memory + (8 << 20),
        "{memory} -> {memory_after} bytes"
    );
    Ok(())
}

#[test]
fn ten_thousand_cgroups_within_a_minute_cost_nothing_and_are_refused_from_their_first_call() {
    const CGROUPS: usize = 10_000;
    check(|place| {
        let daemon = place.start(&[])?;
        check_verdicts(place)?;
        let before = held(&daemon)?;
        let start = Instant::now();
        for number in 0..CGROUPS {
            let name = format!("pod{number}");
            place.cgroup.child(&name)?;
            if number % 500 == 0 {
                assert!(!place.reaches(&name, DB)?, "{name} has just been made");
                check_verdicts(place)?;
            }
            place.remove_cgroup(&name)?;
        }
        let took = start.elapsed();
        check_verdicts(place)?;
        assert!(took < Duration::from_secs(60), "{took:?}");
        println!("{took:?}");
        check_held(&daemon, before)
    });
}

#[test]
fn workload_that_comes_and_goes_a_thousand_times_leaves_nothing_behind() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        check_verdicts(place)?;
        let before = held(&daemon)?;
        for _ in 0..1000 {
            place.remove_cgroup("frontend")?;
            place.cgroup.child("frontend")?;
        }
        place.until("frontend", DB, true)?;
        check_verdicts(place)?;
        daemon.lines();
        check_held(&daemon, before)?;
        let errors: Vec<_> = daemon.seen.iter().filter(|line| line.contains("ERROR")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        Ok(())
    });
}

/// A command whose monotonic clocks are this many seconds ahead of the machine's.
fn at(seconds: u64) -> Vec<String> {
    ["unshare", "--fork", "--kill-child", "--time"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("--monotonic={seconds}"), format!("--boottime={seconds}")])
        .collect()
}

#[test]
fn clock_that_jumps_between_two_starts_changes_nothing() {
    check(|place| {
        for days in [400, 0, 30, 1] {
            place.under = at(days * 24 * 3600);
            let mut daemon = place.start(&[])?;
            check_verdicts(place)?;
            assert!(daemon.lines().iter().all(|line| !line.contains("ERROR")));
            let (_, took) = daemon.end(Signal::SIGKILL)?;
            assert!(took < Duration::from_secs(5));
            check_verdicts(place)?;
            wait("the end of the enforcer below", || Ok(is_free(place)))?;
        }
        Ok(())
    });
}

/// Whether no enforcer has the pins.
fn is_free(place: &Place) -> bool {
    let Ok(folder) = fs::File::open(pins(place).join("lock")) else {
        return true;
    };
    nix::fcntl::Flock::lock(folder, nix::fcntl::FlockArg::LockExclusiveNonblock).is_ok()
}

/// The folder of the maps, of which there is one.
fn maps(place: &Place) -> Result<PathBuf> {
    let folders: Vec<_> = fs::read_dir(pins(place))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| !path.ends_with("links") && !path.ends_with("lock"))
        .collect();
    anyhow::ensure!(folders.len() == 1, "{folders:?}");
    Ok(folders[0].clone())
}

#[test]
fn pins_that_a_crash_left_half_written_are_made_whole() {
    check_pinned(|place| {
        for map in [
            "EXACT",
            "PREFIXES",
            "WORKLOADS",
            "POLICIES",
            "SETTINGS",
            "EVENTS",
            "COUNTERS",
            "ROOTS",
        ] {
            // The programs go on with the map that they have.
            fs::remove_file(maps(place)?.join(map))?;
            check_verdicts(place)?;
            place.start(&[])?.end(Signal::SIGKILL)?;
            check_verdicts(place)?;
            assert!(maps(place)?.join(map).exists());
        }
        Ok(())
    });
}

#[test]
fn links_that_a_crash_left_half_written_are_made_whole() {
    check_pinned(|place| {
        let links = fs::read_dir(pins(place).join("links"))?
            .next()
            .context("a root's links")??
            .path();
        let names = || -> Result<Vec<_>> {
            let mut names: Vec<_> = fs::read_dir(&links)?
                .map(|it| Ok(it?.file_name()))
                .collect::<Result<_>>()?;
            names.sort();
            Ok(names)
        };
        let whole = names()?;
        for name in &whole {
            fs::remove_file(links.join(name))?;
            place.start(&[])?.end(Signal::SIGKILL)?;
            check_verdicts(place)?;
            assert_eq!(names()?, whole);
        }
        // A crash before the first link, and folders of roots that have never been.
        for name in &whole {
            fs::remove_file(links.join(name))?;
        }
        fs::create_dir(pins(place).join("links/4611686018427387904"))?;
        check_start(place)?;
        assert_eq!(names()?, whole);
        assert_eq!(fs::read_dir(pins(place).join("links"))?.count(), 1);
        Ok(())
    });
}

#[test]
fn pins_of_another_layout_are_replaced_without_a_gap_and_removed() {
    check_pinned(|place| {
        // What a newer version could have left: maps of another layout, folders of its own, and programs that this
        // one does not have. A downgrade finds them.
        let newer = pins(place).join("v99-1-1-1-1-1");
        fs::rename(maps(place)?, &newer)?;
        fs::create_dir(newer.join("more"))?;
        fs::rename(newer.join("COUNTERS"), newer.join("more/COUNTERS"))?;
        fs::rename(newer.join("EVENTS"), pins(place).join("EVENTS"))?;
        let links = fs::read_dir(pins(place).join("links"))?
            .next()
            .context("a root's links")??
            .path();
        fs::rename(links.join("sendmsg6"), links.join("sendmsg_newer"))?;
        check_verdicts(place)?;
        check_start(place)?;
        assert!(maps(place)?.join("EXACT").exists() && !newer.exists());
        assert!(links.join("sendmsg6").exists() && !links.join("sendmsg_newer").exists());
        Ok(())
    });
}

#[test]
fn map_that_is_not_what_its_name_says_is_refused() {
    check_pinned(|place| {
        // Looked into as if it held addresses, it would let every address of a port through.
        let maps = maps(place)?;
        fs::remove_file(maps.join("EXACT"))?;
        fs::rename(maps.join("PORTS"), maps.join("EXACT"))?;
        check_refusal(place, &[], &["EXACT", "another layout", "detach"])?;
        check_verdicts(place)?;
        let detached = place.command(&["detach"]).output()?;
        assert!(detached.status.success(), "{detached:?}");
        check_start(place)
    });
}

#[test]
fn of_enforcers_that_start_at_once_one_runs_and_the_others_name_it() {
    check(|place| {
        for _ in 0..5 {
            let mut children = Vec::new();
            for _ in 0..4 {
                let mut command = place.command(&["run"]);
                children.push(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
            }
            wait("the end of all but one", || {
                let mut running = 0;
                for child in &mut children {
                    running += usize::from(child.try_wait()?.is_none());
                }
                anyhow::ensure!(running > 0, "all have ended");
                Ok(running == 1)
            })?;
            place.until("frontend", STRANGER, false)?;
            place.until("frontend", DB, true)?;
            check_verdicts(place)?;
            let (running, ended): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| {
                Path::new("/proc")
                    .join(child.id().to_string())
                    .join("exe")
                    .exists()
            });
            let mut running = running;
            let first = running.first_mut().context("one runs")?;
            for child in ended {
                let output = child.wait_with_output()?;
                let said = String::from_utf8(output.stderr)?;
                let expected = format!("another enforcer (pid {})", first.id());
                assert!(said.contains(&expected), "{expected:?} is missing in {said}");
            }
            first.kill()?;
            first.wait()?;
        }
        Ok(())
    });
}
