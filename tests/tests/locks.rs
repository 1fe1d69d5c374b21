//! Who may keep an enforcer from a root, or from starting: another enforcer, and nobody without privileges.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tests::{
    daemon::{Place, wait},
    fixture::{Bpffs, in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry:
  files: [registry/]
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/one}
- {namespace: frontend, name: app, cgroup: $CGROUP/two}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

const STRANGER: &str = "192.0.2.11:5432";

/// `nobody`
const NOBODY: u32 = 65534;

/// A process without privileges, ended with its children when this is dropped.
struct Nobody(Child);

impl Nobody {
    /// Runs a script, and waits for its first line.
    fn run(script: &str, arguments: &[&Path]) -> Result<(Self, String)> {
        let mut child = Command::new("/bin/bash")
            .arg("-c")
            .arg(script)
            .arg("bash")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .uid(NOBODY)
            .gid(NOBODY)
            .process_group(0)
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("standard output is piped")?;
        BufReader::new(output).read_line(&mut line)?;
        Ok((Self(child), line.trim().to_owned()))
    }

    /// Locks all that it can open below these folders; says how many that are.
    fn locks(folders: &[&Path]) -> Result<(Self, usize)> {
        let script = r#"n=0
            while IFS= read -r f; do
                exec {fd}<"$f" && flock -s -n $fd && n=$((n + 1))
            done 2>/dev/null < <(find "$@" 2>/dev/null)
            echo $n; read"#;
        let (nobody, held) = Self::run(script, folders)?;
        Ok((nobody, held.parse()?))
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or_default());
        if nix::sys::signal::killpg(group, Signal::SIGKILL).is_err() || self.0.wait().is_err() {
            eprintln!("the process {} is still there", self.0.id());
        }
    }
}

/// A place whose folders everybody may look into, and whose bpffs is as the kernel makes it.
fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        for name in ["one", "two"] {
            place.cgroup.child(name)?;
        }
        fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755))?;
        ensure!(fs::metadata(place.bpffs())?.mode() & 0o7777 == 0o1777);
        claim(&mut place)
    })
    .unwrap();
}

fn pins(place: &Place) -> PathBuf {
    place.bpffs().join("enforcer")
}

/// The configuration of an enforcer that shares nothing with the first but a root.
fn another(place: &Place, roots: &[&str]) -> Result<()> {
    let entries: String = roots
        .iter()
        .map(|root| format!("- {{namespace: default, name: {root}, cgroup: $CGROUP/{root}}}\n"))
        .collect();
    let folder = place.folder.path().display();
    place.configure(&format!(
        "registry: {{files: [registry/]}}\nworkloads:\n{entries}state: {folder}/other\nbpffs: {folder}/others\n"
    ))
}

#[test]
fn locks_that_others_hold_keep_nobody_from_enforcing() {
    check(|place| {
        let below = [place.cgroup.folder().to_owned(), place.folder.path().to_owned()];
        let below: Vec<_> = below.iter().map(PathBuf::as_path).collect();
        let (_before, held) = Nobody::locks(&below)?;
        ensure!(held > 10, "nobody could lock {held} files only");
        let mut first = place.start(&[])?;
        assert!(!place.reaches("one", STRANGER)? && !place.reaches("two", STRANGER)?);
        let (_meanwhile, _) = Nobody::locks(&below)?;
        first.end(Signal::SIGKILL)?;
        let _second = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

#[test]
fn nothing_that_an_enforcer_locks_can_be_opened_by_others() {
    check(|place| {
        let daemon = place.start(&[])?;
        let pid = daemon.pid().to_string();
        let locks = fs::read_to_string("/proc/locks")?;
        let own: Vec<_> = locks
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.get(4) == Some(&pid.as_str()))
            .collect();
        let lock = fs::metadata(pins(place).join("lock"))?;
        for fields in &own {
            assert!(fields[5].ends_with(&format!(":{}", lock.ino())), "{fields:?}");
        }
        assert_eq!(own.len(), 1);
        for folder in [pins(place), pins(place).join("lock"), place.state()] {
            let there = fs::metadata(&folder)?;
            assert_eq!(
                (there.uid(), there.mode() & 0o777),
                (0, 0o700),
                "{}",
                folder.display()
            );
        }
        Ok(())
    });
}

#[test]
fn what_others_have_made_in_bpffs_is_moved_aside_and_not_looked_into() {
    for script in [
        r#"mkdir -p "$1/links/1" && mkdir "$1/lock"; flock -s "$1/lock" sleep 1000 & echo made; read"#,
        r#"ln -s /etc "$1"; echo made; read"#,
        r#"mkdir "$1"; echo made; read"#,
    ] {
        check(|place| {
            let (_nobody, made) = Nobody::run(script, &[&pins(place)])?;
            assert_eq!(made, "made");
            let detached = place.command(&["detach", "--allow-nothing"]).output()?;
            assert!(detached.status.success(), "{detached:?}");
            let mut daemon = place.start(&[])?;
            daemon.line(&["another user had made"])?;
            assert_eq!(fs::symlink_metadata(pins(place))?.uid(), 0);
            place.until_status("proof", |status| status.proven)?;
            assert!(!place.reaches("one", STRANGER)?);
            Ok(())
        });
    }
}

#[test]
fn frozen_root_is_told_and_holds_up_no_other() {
    check(|place| {
        let _daemon = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        let freezer = place.cgroup.folder().join("two/cgroup.freeze");
        fs::write(&freezer, "1")?;
        let status = place.until_status("word of it", |status| {
            let frozen = |problem: &String| problem.contains("its cgroup is frozen");
            status.problems.iter().any(frozen)
        })?;
        assert!(
            !status.proven && status.problems.len() == 1,
            "{:?}",
            status.problems
        );
        fs::write(&freezer, "0")?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

/// Where the self-proof of a second enforcer has a process just then.
#[test]
fn enforcer_is_detached_while_another_proves_itself() {
    check(|place| {
        place.probe("others/enforcer-canary")?;
        let left = place.cgroup.child("others/enforcer-canary-1")?;
        let of_workload = place.cgroup.child("others/enforcer-canary-2")?;
        std::os::unix::fs::chown(&of_workload, Some(NOBODY), None)?;
        let mut daemon = place.start(&[])?;
        daemon.end(Signal::SIGKILL)?;
        let detached = place.command(&["detach"]).output()?;
        assert!(detached.status.success(), "{detached:?}");
        assert!(!left.exists() && of_workload.exists());
        Ok(())
    });
}

#[test]
fn who_makes_the_folder_of_the_pins_all_the_time_keeps_nobody_from_starting() {
    check(|place| {
        let script = r#"echo begun
            while :; do mkdir "$1"; ln -s /etc "$1/x"; rm "$1/x"; rmdir "$1"; ln -s /etc "$1"; rm "$1"; done 2>/dev/null"#;
        let pins = pins(place);
        let _nobodies = [Nobody::run(script, &[&pins])?, Nobody::run(script, &[&pins])?];
        for _ in 0..5 {
            place.start(&[])?.end(Signal::SIGKILL)?;
            assert_eq!(fs::symlink_metadata(&pins)?.mode() & 0o777, 0o700);
            let detached = place.command(&["detach"]).output()?;
            assert!(detached.status.success(), "{detached:?}");
        }
        Ok(())
    });
}

#[test]
fn state_folder_that_others_may_write_to_is_refused_with_the_remedy() {
    check(|place| {
        fs::create_dir(place.state())?;
        fs::set_permissions(place.state(), fs::Permissions::from_mode(0o1777))?;
        let refusal = place.refusal(&[])?;
        for words in [
            "others may write to it",
            "chmod go-w",
            &place.state().display().to_string(),
        ] {
            assert!(refusal.contains(words), "{words:?} is missing in {refusal}");
        }
        std::os::unix::fs::chown(place.state(), Some(NOBODY), None)?;
        fs::set_permissions(place.state(), fs::Permissions::from_mode(0o755))?;
        let refusal = place.refusal(&[])?;
        assert!(refusal.contains("belongs to user 65534"), "{refusal}");
        Ok(())
    });
}

#[test]
fn enforcers_that_share_nothing_but_a_root_are_told_apart() {
    for (first, second) in [
        (&[][..], &["--ephemeral"][..]),
        (&["--ephemeral"], &[]),
        (&["--ephemeral"], &["--ephemeral"]),
        (&[], &[]),
    ] {
        check(|place| {
            let _others = Bpffs::mount(place.folder.path().join("others"))?;
            let running = place.start(first)?;
            another(place, &["one"])?;
            let refusal = place.refusal(second)?;
            let expected = format!("another enforcer (pid {}) has it", running.pid());
            assert!(
                refusal.contains(&expected),
                "{expected:?} is missing in {refusal}"
            );
            assert!(!place.reaches("one", STRANGER)?);
            Ok(())
        });
    }
}

#[test]
fn of_ephemeral_enforcers_that_start_at_once_one_has_the_root() {
    check(|place| {
        for _ in 0..5 {
            let mut daemons = Vec::new();
            for number in 0..4 {
                let state = place.folder.path().join(format!("state-{number}"));
                place.configure(&format!("{CONFIG}state: {}\n", state.display()))?;
                let mut command = place.command(&["run", "--ephemeral"]);
                let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
                // It has read its configuration once its socket is there, or it has ended.
                wait("a control socket", || {
                    Ok(state.join("control.sock").exists() || child.try_wait()?.is_some())
                })?;
                daemons.push(child);
            }
            wait("the end of all but one", || {
                let mut running = 0;
                for daemon in &mut daemons {
                    running += usize::from(daemon.try_wait()?.is_none());
                }
                ensure!(running > 0, "all have ended");
                Ok(running == 1)
            })?;
            place.until("one", STRANGER, false)?;
            for mut daemon in daemons {
                daemon.kill()?;
                daemon.wait()?;
            }
            place.until("one", STRANGER, true)?;
        }
        Ok(())
    });
}

#[test]
fn root_that_fails_keeps_no_other_from_being_enforced_and_is_tried_again() {
    check(|place| {
        another(place, &["one"])?;
        let mut rival = place.start(&["--ephemeral"])?;
        place.configure(CONFIG)?;
        let mut daemon = place.start(&[])?;
        let root = place.cgroup.path().join("one").display().to_string();
        let why = format!(
            "not enforcing at {root}: another enforcer (pid {}) has it",
            rival.pid()
        );
        let line = daemon.line(&[&why])?;
        assert!(line.contains("ERROR") && line.contains("trying again"), "{line}");
        assert!(!place.reaches("two", STRANGER)?);
        let status = place.until_status("proof at the other root", |status| {
            let other = status.roots.iter().find(|root| root.path.ends_with("/two"));
            other.is_some_and(|other| other.canary.is_some())
        })?;
        assert!(
            !status.proven && status.problems.contains(&why),
            "{:?}",
            status.problems
        );
        rival.end(Signal::SIGKILL)?;
        daemon.line(&[&format!("enforcing at {root}")])?;
        assert!(!place.reaches("one", STRANGER)?);
        place.until_status("proof", |status| status.proven)?;
        let said = daemon.seen.iter().filter(|line| line.contains(&why)).count();
        assert_eq!(said, 1, "{:?}", daemon.seen);
        Ok(())
    });
}

#[test]
fn what_an_earlier_start_left_at_a_root_that_fails_stays_in_force() {
    check(|place| {
        place.start(&[])?.end(Signal::SIGKILL)?;
        another(place, &["one"])?;
        let rival = place.start(&["--ephemeral"])?;
        // Other capacities: the maps of the earlier start are not those of this one.
        place.configure(&format!("{CONFIG}capacities: {{workloads: 512}}\n"))?;
        let mut daemon = place.start(&[])?;
        drop(rival);
        daemon.line(&["enforcing at", "/one"])?;
        place.until_status("proof", |status| status.proven)?;
        assert!(!place.reaches("one", STRANGER)? && !place.reaches("two", STRANGER)?);
        Ok(())
    });
}

#[test]
fn cgroup_that_a_workload_has_made_under_the_canarys_name_is_left_alone() {
    check(|place| {
        let squatted = place.cgroup.child("one/enforcer-canary")?;
        std::os::unix::fs::chown(&squatted, Some(NOBODY), None)?;
        let _daemon = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        assert_eq!(fs::metadata(&squatted)?.uid(), NOBODY);
        Ok(())
    });
}
