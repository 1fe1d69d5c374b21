//! `enforcer top` as it is typed into a terminal, and as scripts run it.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

#[path = "top/terminal.rs"]
mod terminal;

use std::{os::unix::process::ExitStatusExt as _, process::Output};

use anyhow::{Result, ensure};
use enforcer::control::{self, Observed};
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use terminal::Terminal;
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{in_own_network, need_root},
    probe::Outcome,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/web}
- {namespace: payments, name: job, cgroup: $CGROUP/job}
";

const ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: frontend}
spec:
  hosts: [db.example.com]
  addresses: [192.0.2.20]
  resolution: NONE
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

const ALLOWED: &str = "192.0.2.20:5432";
const REFUSED: &str = "198.51.100.7:443";

/// A running enforcer and two workloads: `web` has three calls to what is registered and one to what is not, `job` two of
/// the latter.
fn check(claim: impl FnOnce(&mut Place, Daemon) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::new(BINARY, CONFIG)?;
        place.write("db.yaml", ENTRY)?;
        for path in ["web", "job"] {
            place.cgroup.child(path)?;
        }
        let daemon = place.start(&["--ephemeral"])?;
        for to in [ALLOWED, ALLOWED, ALLOWED, REFUSED] {
            let is_through = place.call("web", Transport::Tcp, to)? == Outcome::Through;
            ensure!(is_through == (to == ALLOWED), "{to}");
        }
        for _ in 0..2 {
            ensure!(place.call("job", Transport::Tcp, REFUSED)? != Outcome::Through);
        }
        wait("three observations", || {
            Ok(observed(&place)?.observations.len() == 3)
        })?;
        claim(&mut place, daemon)
    })
    .unwrap();
}

fn observed(place: &Place) -> Result<Observed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(control::ask_observed(&place.state()))
}

/// What would allow the call of `job`, and why it was refused.
fn said(place: &Place) -> Result<[String; 2]> {
    let mut observations = observed(place)?.observations.into_iter();
    let refused = observations.find(|observation| observation.namespace == "payments");
    let refused = refused.unwrap();
    Ok([refused.reason.unwrap(), refused.suggestion.unwrap()])
}

/// As many words as are on one line of a terminal of 80 columns, behind a name.
fn beginning(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(' ') {
        if line.len() + word.len() > 60 {
            break;
        }
        line = format!("{line} {word}");
    }
    line.trim_start().to_owned()
}

#[test]
fn refused_destination_is_on_the_screen_with_its_reason_and_suggestion() {
    check(|place, _daemon| {
        let [reason, suggestion] = said(place)?;
        let mut terminal = Terminal::start(place.command(&["top", "--sort", "verdict"]), (24, 80))?;
        let screen = terminal.until("the table", |text| text.contains(" 198.51.100.7:443/tcp "))?;
        assert!(screen.contains(" live "), "{screen}");
        // What is refused most comes first, and is selected.
        let lines: Vec<_> = screen.lines().collect();
        let cells = |line: usize| lines[line].split_whitespace().take(4).collect::<Vec<_>>();
        assert_eq!(
            cells(3),
            ["payments", "job", "198.51.100.7:443/tcp", "deny"],
            "{screen}"
        );
        assert_eq!(
            cells(5),
            ["frontend", "web", "db.example.com:5432/tcp", "allow"],
            "{screen}"
        );
        for said in [
            format!("reason: {}", beginning(&reason)),
            format!("suggestion: {}", beginning(&suggestion)),
        ] {
            assert!(screen.contains(&said), "{said:?} is missing:\n{screen}");
        }
        // The last line, and what allows it.
        terminal.press("\x1b[F")?;
        terminal.until("the last line's details", |text| {
            text.contains("object: ServiceEntry frontend/db")
        })?;
        terminal.press("/db.example")?;
        terminal.until("what is filtered", |text| !text.contains("198.51.100.7"))?;
        terminal.press("\r")?;
        terminal.until("the keys", |text| {
            text.contains("filter: db.example") && text.contains("q quit")
        })?;
        // A new refusal appears by itself, once nothing is filtered, and keeps the selection where it is.
        ensure!(place.call("web", Transport::Udp, "203.0.113.9:9")? != Outcome::Through);
        terminal.press("/\x7f")?;
        terminal.until("the filter without its last character", |text| {
            text.contains("/db.exampl_")
        })?;
        terminal.press("\x1b")?;
        let screen = terminal.until("the new refusal", |text| text.contains("203.0.113.9:9/udp"))?;
        assert!(
            screen.contains("allow frontend/web -> tcp db.example.com:5432"),
            "{screen}"
        );
        terminal.resize((10, 40))?;
        terminal.until("a small table", |text| {
            text.contains("DESTINATION") && !text.contains("NAMESPACE")
        })?;
        terminal.press("q")?;
        let status = terminal.end()?;
        assert!(status.success(), "{status}");
        Ok(())
    });
}

#[test]
fn enforcer_that_goes_away_is_told_and_found_again_and_sigterm_restores_the_terminal() {
    check(|place, mut daemon| {
        let mut terminal = Terminal::start(place.command(&["top"]), (24, 80))?;
        terminal.until("the table", |text| text.contains("198.51.100.7:443/tcp"))?;
        daemon.end(Signal::SIGTERM)?;
        let screen = terminal.until("that nothing answers", |text| {
            text.contains("NO ENFORCER ANSWERS")
        })?;
        assert!(screen.contains("no enforcer answers at"), "{screen}");
        // What was known stays.
        assert!(screen.contains("198.51.100.7:443/tcp"), "{screen}");
        let _daemon = place.start(&["--ephemeral"])?;
        ensure!(place.call("web", Transport::Tcp, "203.0.113.9:9")? != Outcome::Through);
        terminal.until("the other enforcer's", |text| {
            text.contains(" live ") && text.contains("203.0.113.9:9/tcp") && !text.contains("198.51.100.7")
        })?;
        terminal.signal(Signal::SIGTERM)?;
        let status = terminal.end()?;
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{status}");
        Ok(())
    });
}

#[test]
fn once_prints_the_sorted_table_and_ends() {
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    check(|place, mut daemon| {
        let run = |arguments: &[&str]| place.command(arguments).output();
        let output = run(&["top", "--once", "--sort", "total"])?;
        assert!(output.status.success(), "{output:?}");
        let all = text(&output);
        let cells: Vec<Vec<_>> = all
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let head = [
            "NAMESPACE",
            "WORKLOAD",
            "DESTINATION",
            "VERDICT",
            "RATE/S",
            "TOTAL",
            "LAST",
            "OBJECT",
        ];
        assert_eq!(cells[0], head, "{all}");
        assert_eq!(cells.len(), 4, "{all}");
        let expected = [
            (["frontend", "web", "db.example.com:5432/tcp", "allow"], "3"),
            (["payments", "job", "198.51.100.7:443/tcp", "deny"], "2"),
            (["frontend", "web", "198.51.100.7:443/tcp", "deny"], "1"),
        ];
        for (cells, (first, total)) in cells[1..].iter().zip(expected) {
            assert_eq!((&cells[..4], cells[5]), (&first[..], total), "{all}");
            assert!(cells[4].parse::<f64>().is_ok(), "no rate: {all}");
        }
        assert_eq!(cells[1][7..], ["ServiceEntry", "frontend/db"], "{all}");
        // Where standard output is no terminal, nothing else makes sense.
        let few = text(&run(&["top", "--sort", "verdict", "--limit", "1"])?);
        assert_eq!(few.lines().count(), 2, "{few}");
        assert!(few.lines().last().unwrap().starts_with("payments"), "{few}");
        assert!(!run(&["top", "--once", "--sort", "colour"])?.status.success());
        daemon.end(Signal::SIGTERM)?;
        let output = run(&["top", "--once"])?;
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.starts_with("error: no enforcer answers at ") && error.lines().count() == 1,
            "{error}"
        );
        Ok(())
    });
}
