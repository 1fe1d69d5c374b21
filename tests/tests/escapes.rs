//! What is not ours in what an enforcer writes: nothing of it makes a line, nor moves a terminal.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{ffi::OsStrExt as _, fs::symlink, process::ExitStatusExt as _},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    daemon::{Place, wait},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry:
  files: [registry/]
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

/// What forges a line and colours a terminal, in the 15 bytes that a process's name has.
const NAME: &[u8] = b"x\n\x1b[31mERR\xe2\x80\xaea";

/// A document whose every text does the same.
const HOSTILE: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: "front\nend\e[2J", annotations: {"a\nb": "c\x9b31m"}}
spec:
  hosts: ["a\nERROR forged \e]0;title\a.example.com"]
  exportTo: ["\u202Egrof"]
  resolution: DNS
  ports: [{number: 5432, name: "t\r\nWARN forged", protocol: "TCP\n2026-01-01T00:00:00Z ERROR forged\e[31m\u2028\u0085"}]
"#;

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::new(BINARY, CONFIG)?;
        place.cgroup.child("frontend")?;
        place.write("hostile.yaml", HOSTILE)?;
        place.write("new\nERROR line\x1b[31m.yaml", HOSTILE)?;
        claim(&mut place)
    })
    .unwrap();
}

/// Lines that end, hold nothing that moves a terminal, and none that the document has made.
fn check_text(text: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(text).context("the text is UTF-8")?;
    let hazard = |character: char| {
        character != '\n'
            && (character.is_control()
                || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}".contains(character))
    };
    ensure!(!text.contains(hazard), "{text:?}");
    ensure!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        let is_forged = [
            "ERROR line",
            "ERROR forged",
            "WARN forged",
            "2026-01-01T00:00:00Z ERROR",
            "end",
        ]
        .iter()
        .any(|begin| line.starts_with(begin));
        ensure!(!is_forged, "{line:?} in {text}");
    }
    Ok(text.to_owned())
}

fn check_output(output: &Output) -> Result<String> {
    Ok(check_text(&output.stdout)? + &check_text(&output.stderr)?)
}

#[test]
fn name_of_a_process_makes_no_line_in_the_log() {
    for format in ["human", "json"] {
        check(|place| {
            let mut daemon = place.start(&["--ephemeral", "--log-format", format])?;
            // The kernel names a process by the file that it is started from.
            let shell = place.folder.path().join(OsStr::from_bytes(NAME));
            symlink("/bin/bash", &shell)?;
            let script = r#"echo 0 > "$1/cgroup.procs"; exec 3<>/dev/tcp/192.0.2.11/80"#;
            let connected = Command::new(&shell)
                .args(["-c", script, "bash"])
                .arg(place.cgroup.folder().join("frontend"))
                .stderr(Stdio::null())
                .status()?;
            assert!(!connected.success());
            let line = daemon.line(&["192.0.2.11"])?;
            if format == "json" {
                let flow: serde_json::Value = serde_json::from_str(&line)?;
                assert_eq!(flow["process"], String::from_utf8_lossy(NAME).into_owned());
            } else {
                assert!(line.contains(r"frontend/web x\n\x1b[31mERR\u{202e}a["), "{line}");
            }
            daemon.lines();
            check_text(format!("{}\n", daemon.seen.join("\n")).as_bytes())?;
            Ok(())
        });
    }
}

#[test]
fn document_makes_no_line_in_what_the_daemon_and_the_commands_write() {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral"])?;
        let line = daemon.line(&["unsupported protocol: TCP"])?;
        assert!(
            line.contains(r"TCP\n2026-01-01T00:00:00Z ERROR forged\x1b[31m\u{2028}\u{85}"),
            "{line}"
        );
        let status = place.command(&["status"]).output()?;
        let text = check_output(&status)?;
        assert!(text.contains(r"new\nERROR line\x1b[31m.yaml"), "{text}");
        check_output(&place.command(&["status", "-o", "json"]).output()?)?;
        let explain = ["explain", "--namespace", "frontend", "--entry", "192.0.2.11:5432"];
        let text = check_output(&place.command(&explain).output()?)?;
        assert!(text.contains("no ServiceEntry"), "{text}");
        let explain = ["explain", "--namespace", "frontend", "a\n\u{1b}[31m:80"];
        check_output(&place.command(&explain).output()?)?;
        daemon.lines();
        check_text(format!("{}\n", daemon.seen.join("\n")).as_bytes())?;
        Ok(())
    });
}

#[test]
fn check_writes_each_record_on_lines_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.yaml", "b\nERROR line\u{1b}[31m.yaml"] {
        fs::write(folder.path().join(name), HOSTILE).unwrap();
    }
    for form in ["text", "json"] {
        let mut command = Command::new(BINARY);
        let output = command
            .args(["check", "-o", form])
            .arg(folder.path())
            .output()
            .unwrap();
        let text = check_output(&output).unwrap();
        let records = text.lines().filter(|line| !line.starts_with("  ")).count();
        assert_eq!(records, 2, "{text}");
    }
    let gone = "gone\n\u{1b}[31m";
    let output = Command::new(BINARY).args(["check", gone]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(check_output(&output).unwrap().lines().count(), 1);
}

#[test]
fn text_of_megabytes_is_cut_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let long = HOSTILE.replace("TCP\\n", &"x".repeat(4 << 20));
    fs::write(folder.path().join("a.yaml"), long).unwrap();
    for form in ["text", "json"] {
        let mut command = Command::new(BINARY);
        let output = command
            .args(["check", "-o", form])
            .arg(folder.path())
            .output()
            .unwrap();
        let text = check_output(&output).unwrap();
        assert!(text.len() < 64 << 10, "{}", text.len());
        assert!(text.contains("bytes more)"));
    }
}

/// Runs a command whose output nobody reads to its end: a line of it at most.
fn cut_off(command: &mut Command, reads: bool) -> Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("standard output is piped")?;
    if reads {
        BufReader::with_capacity(1, output).read_line(&mut String::new())?;
    } else {
        drop(output);
    }
    Ok(child.wait_with_output()?)
}

#[test]
fn command_whose_reader_has_gone_ends_quietly_as_by_sigpipe() {
    check(|place| {
        let many: String = (0..2000).map(|_| format!("{HOSTILE}---\n")).collect();
        place.write("many.yaml", &many)?;
        let _daemon = place.start(&["--ephemeral"])?;
        let registry = place.folder.path().join("registry").display().to_string();
        let mut check = Command::new(BINARY);
        check.args(["check", &registry]);
        let mut schema = Command::new(BINARY);
        schema.arg("schema");
        let explain = ["explain", "--namespace", "frontend", "192.0.2.11:80"];
        for (mut command, reads) in [
            (check, true),
            (schema, false),
            (place.command(&["status"]), false),
            (place.command(&["status", "-o", "json"]), false),
            (place.command(&explain), false),
        ] {
            let output = cut_off(&mut command, reads)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{command:?}: {said}");
            assert!(
                !said.contains("panicked") && !said.contains("Broken pipe"),
                "{said}"
            );
        }
        Ok(())
    });
}

#[test]
fn error_that_nobody_reads_is_no_panic() {
    let mut command = Command::new(BINARY);
    let mut child = command
        .args(["check", "/nowhere"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn daemon_goes_on_where_nobody_reads_its_log_or_its_announcement() {
    check(|place| {
        let mut command = place.command(&["run", "--ephemeral"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        drop((child.stdout.take(), child.stderr.take()));
        let outcome = (|| {
            wait("answer", || Ok(place.status().is_ok()))?;
            place.until("frontend", "192.0.2.11:80", false)?;
            place.until_status("proof", |status| status.proven)
        })();
        child.kill()?;
        child.wait()?;
        outcome.map(drop)
    });
}
