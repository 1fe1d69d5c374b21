//! How sandboxes end: as their command, and with everything that they have made, whoever is killed.
#![expect(
    clippy::zombie_processes,
    reason = "a test that fails ends what it has started by its namespace"
)]

use std::{
    fs::File,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Stdio},
};

use anyhow::Result;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::{
    daemon::{Place, wait},
    fixture::in_own_network,
};

use super::run::{BINARY, Made, OTHER, SERVER, Server, first_line, said, sandbox, text};

fn send(signal: Signal, to: i32) {
    kill(Pid::from_raw(to), signal).unwrap();
}

/// Connects to the refused server as often as it can, and outlives what kills others.
const RESTLESS: &str = "trap '' TERM HUP INT; echo ready; \
                        while :; do (exec 3<>/dev/tcp/192.0.2.11/443) 2>/dev/null; done";

/// A sandbox in which this script of bash runs, once it has said that it does.
fn running(arguments: &[&str], script: &str) -> Child {
    let mut command = sandbox(arguments);
    let mut child = command
        .args(["--", "bash", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    said(&mut child, "ready");
    child
}

#[test]
fn sandbox_ends_as_its_command() {
    in_own_network(|| {
        for (script, code, signal) in [
            ("exit 0", Some(0), None),
            ("exit 3", Some(3), None),
            ("exit 125", Some(125), None),
            ("kill -KILL $$", None, Some(libc::SIGKILL)),
            ("kill -TERM $$", None, Some(libc::SIGTERM)),
            ("ulimit -c 0; kill -SEGV $$", None, Some(libc::SIGSEGV)),
        ] {
            let status = sandbox(&["--", "sh", "-c", script]).status()?;
            assert_eq!((status.code(), status.signal()), (code, signal), "{script}");
        }
        for (program, code) in [("/nowhere/program", 127), ("/etc/passwd", 126)] {
            let output = sandbox(&["--", program]).output()?;
            assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn signals_reach_the_command() {
    in_own_network(|| {
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            let name = signal.as_str().trim_start_matches("SIG");
            let script = format!("trap 'echo {name}; exit 7' {name}; echo ready; sleep 1000 & wait");
            let mut child = running(&[], &script);
            send(signal, child.id().cast_signed());
            said(&mut child, name);
            assert_eq!(child.wait()?.code(), Some(7), "{signal}");
        }
        // What the command does not catch ends it, and the sandbox with it in the same way.
        let mut child = running(&[], "echo ready; exec sleep 1000");
        send(Signal::SIGTERM, child.id().cast_signed());
        assert_eq!(child.wait()?.signal(), Some(libc::SIGTERM));
        Ok(())
    })
    .unwrap();
}

#[test]
fn stopped_command_stops_the_sandbox_and_goes_on_with_it() {
    in_own_network(|| {
        let mut child = running(&[], "echo ready; kill -STOP $$; echo again; exit 5");
        let pid = child.id().cast_signed();
        wait("stopped sandbox", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            Ok(stat.contains(") T "))
        })?;
        send(Signal::SIGCONT, pid);
        said(&mut child, "again");
        assert_eq!(child.wait()?.code(), Some(5));
        Ok(())
    })
    .unwrap();
}

#[test]
fn processes_that_the_command_leaves_end_with_it() {
    in_own_network(|| {
        let server = Server::at(OTHER)?;
        let script = format!(
            "setsid bash -c \"{}\" >/dev/null 2>&1 & echo ready; read",
            RESTLESS.replace("echo ready; ", "")
        );
        let mut child = sandbox(&[])
            .args(["--", "bash", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        said(&mut child, "ready");
        let made = Made::by(child.id())?;
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("that the command had left running"), "{error}");
        assert!(made.is_gone(), "nothing is left when the sandbox has ended");
        made.await_end()?;
        assert_eq!(server.accepted(), 0);
        Ok(())
    })
    .unwrap();
}

/// Kills these of a running sandbox, and says how it has ended.
fn killed(which: impl Fn(&Made, i32) -> Vec<i32>) -> Result<std::process::ExitStatus> {
    let server = Server::at(OTHER)?;
    let mut child = running(&[], RESTLESS);
    let made = Made::by(child.id())?;
    for pid in which(&made, child.id().cast_signed()) {
        send(Signal::SIGKILL, pid);
    }
    let status = child.wait()?;
    made.await_end()?;
    assert_eq!(server.accepted(), 0, "no process was free at any moment");
    Ok(status)
}

#[test]
fn killed_sandbox_leaves_nothing_and_frees_nobody() {
    in_own_network(|| {
        let status = killed(|_, sandbox| vec![sandbox])?;
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        Ok(())
    })
    .unwrap();
}

#[test]
fn killed_guard_and_killed_enforcer_end_the_command() {
    for part in ["guard", "enforcer"] {
        in_own_network(|| {
            let status = killed(|made, _| vec![made.part(part)])?;
            assert_eq!(status.code(), Some(125), "{part}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn sandbox_killed_with_its_enforcer_leaves_nothing_and_frees_nobody() {
    in_own_network(|| {
        let status = killed(|made, sandbox| vec![made.part("enforcer"), sandbox])?;
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_that_outlives_all_that_watched_it_is_enforced_and_ended_by_the_next_sandbox() {
    in_own_network(|| {
        let (allowed, refused) = (Server::at(SERVER)?, Server::at(OTHER)?);
        let script =
            format!("(while :; do (exec 3<>/dev/tcp/192.0.2.10/443) 2>/dev/null; done) & {RESTLESS}");
        let mut child = running(&["--allow", SERVER], &script);
        let made = Made::by(child.id())?;
        // No other sandbox begins meanwhile, which would take it away.
        let alone = File::open("/run/enforcer-sandbox")?;
        alone.lock()?;
        let mut all: Vec<_> = made.parts.iter().copied().collect();
        all.push(child.id().cast_signed());
        // None of them sees another end.
        all.iter().for_each(|pid| send(Signal::SIGSTOP, *pid));
        all.iter().for_each(|pid| send(Signal::SIGKILL, *pid));
        child.wait()?;
        assert!(made.processes() > 0, "nobody is there who could end it");
        let before = allowed.accepted();
        wait("connections to the allowed server", || {
            Ok(allowed.accepted() > before + 20)
        })?;
        assert_eq!(refused.accepted(), 0, "it is enforced without any process");
        drop(alone);
        assert!(sandbox(&["--", "true"]).status()?.success());
        made.await_end()?;
        assert_eq!(refused.accepted(), 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn sandboxes_and_a_daemon_run_beside_each_other() {
    in_own_network(|| {
        let _servers = [Server::at(SERVER)?, Server::at(OTHER)?];
        let mut place = Place::new(
            BINARY,
            "registry: {files: [registry/]}\nworkloads:\n- {namespace: frontend, cgroup: $CGROUP/frontend}\n",
        )?;
        let _daemon = place.start(&["--ephemeral"])?;
        assert!(!place.reaches("frontend", SERVER)?);
        let script = "echo ready; while read address; do \
                      (exec 3<>/dev/tcp/$address/443) 2>/dev/null && echo $address || echo refused; done";
        let start = |allow: &str| {
            let mut command = sandbox(&["--allow", allow]);
            let mut child = command
                .args(["--", "bash", "-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            said(&mut child, "ready");
            child
        };
        let mut both = [start(SERVER), start(OTHER)];
        let expected = [["192.0.2.10", "refused"], ["refused", "192.0.2.11"]];
        for (child, expected) in both.iter_mut().zip(expected) {
            let input = child.stdin.as_mut().unwrap();
            std::io::Write::write_all(input, b"192.0.2.10\n192.0.2.11\n")?;
            expected.iter().for_each(|line| said(child, line));
        }
        let (code, status) = place.status()?;
        assert_eq!((code, status.problems.len()), (Some(0), 0), "{status:#?}");
        assert!(!place.reaches("frontend", SERVER)?);
        for mut child in both {
            let made = Made::by(child.id())?;
            drop(child.stdin.take());
            child.wait()?;
            made.await_end()?;
        }
        assert!(!place.reaches("frontend", SERVER)?, "the daemon is as before");
        assert_eq!(place.status()?.0, Some(0));
        Ok(())
    })
    .unwrap();
}

#[test]
fn root_that_kills_its_parents_is_contained_to_its_end() {
    in_own_network(|| {
        let server = Server::at(OTHER)?;
        let script =
            "echo $PPID; kill -KILL $PPID; while :; do (exec 3<>/dev/tcp/192.0.2.11/443) 2>/dev/null; done";
        let mut child = sandbox(&["--", "bash", "-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let parent = first_line(&mut child);
        assert_eq!(parent, child.id().to_string());
        assert_eq!(child.wait()?.signal(), Some(libc::SIGKILL));
        let folder = std::path::Path::new("/run/enforcer-sandbox").join(parent);
        wait("end of the sandbox", || Ok(!folder.exists()))?;
        assert_eq!(server.accepted(), 0);
        Ok(())
    })
    .unwrap();
}
