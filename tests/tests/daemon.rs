//! The main job, as its users run it: `enforcer run` with files, names and cgroups, and real sockets.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::time::Duration;

use anyhow::Result;
use enforcer_common::{Share, Transport};
use nix::sys::signal::Signal;
use tests::{
    daemon::{Daemon, Place, RESOLVER, wait},
    fixture::{in_own_network, need_root},
    probe::Outcome,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// Two workloads, and the place's own DNS server.
const CONFIG: &str = "
registry:
  files: [registry/]
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
- {namespace: default, name: app, cgroup: $CGROUP/default}
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 2s, timeout: 500ms}
";

const DB: &str = "192.0.2.10:5432";

fn entry(namespace: &str, name: &str, host: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  hosts: [{host}]\n  exportTo: ['.']\n  resolution: DNS\n  \
         ports: [{{number: {port}, name: tcp, protocol: TCP}}]\n"
    )
}

/// A place with the database's entry for frontend, and its DNS server.
fn place() -> Result<Place> {
    need_root()?;
    let mut place = Place::with_bpffs(BINARY, CONFIG)?;
    place.resolve("192.0.2.10 db.example.com\n2001:db8::10 db.example.com\n")?;
    place.write("db.yaml", &entry("frontend", "db", "db.example.com", 5432))?;
    for name in ["frontend", "default"] {
        place.cgroup.child(name)?;
    }
    Ok(place)
}

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| claim(&mut place()?)).unwrap();
}

/// Runs `claim` with an enforcer that takes everything away at its end.
fn check_running(claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral"])?;
        claim(place, &mut daemon)
    });
}

#[test]
fn registered_destination_is_reached_and_every_other_is_refused() {
    check_running(|place, daemon| {
        assert_eq!(
            daemon.announced.trim(),
            "enforcement is in force: workloads 2, policies 2, rules 5"
        );
        assert!(place.reaches("frontend", DB)?);
        assert!(place.reaches("frontend", "[2001:db8::10]:5432")?);
        assert!(place.reaches("frontend/nested", DB)?);
        assert!(!place.reaches("frontend", "192.0.2.10:5433")?);
        assert!(!place.reaches("default", DB)?);
        assert!(place.reaches("outside", DB)?);
        Ok(())
    });
}

#[test]
fn refusal_names_workload_process_host_reason_and_remedy() {
    check_running(|place, daemon| {
        assert!(!place.reaches("default", DB)?);
        let line = daemon.line(&["denied"])?;
        for part in [
            "default/app enforcer-test[",
            "-> tcp 192.0.2.10:5432 (db.example.com)",
            "ServiceEntry frontend/db is not exported to default",
            "add default to exportTo of ServiceEntry frontend/db",
        ] {
            assert!(line.contains(part), "{part:?} is missing in {line}");
        }
        Ok(())
    });
}

#[test]
fn refusal_in_json_has_a_field_for_each_fact() {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral", "--log-format", "json"])?;
        assert!(!place.reaches("default", DB)?);
        let line = daemon.line(&["flow denied"])?;
        let flow: serde_json::Value = serde_json::from_str(&line)?;
        for (field, value) in [
            ("verdict", "deny"),
            ("workload", "default/app"),
            ("process", "enforcer-test"),
            ("event", "flow_denied"),
            ("namespace", "default"),
            ("protocol", "tcp"),
            ("object", "ServiceEntry frontend/db"),
            ("address", "192.0.2.10"),
            ("host", "db.example.com"),
            ("reason", "ServiceEntry frontend/db is not exported to default"),
        ] {
            assert_eq!(flow[field], value, "{field} in {line}");
        }
        assert_eq!(flow["port"], 5432);
        Ok(())
    });
}

#[test]
fn entry_that_is_added_or_removed_on_disk_is_in_force_within_a_second() {
    check_running(|place, _| {
        for _ in 0..3 {
            place.write("default.yaml", &entry("default", "db", "db.example.com", 5432))?;
            let added = place.until("default", DB, true)?;
            place.remove("default.yaml")?;
            let removed = place.until("default", DB, false)?;
            println!("added after {added:?}, removed after {removed:?}");
            assert!(added < Duration::from_secs(1) && removed < Duration::from_secs(1));
        }
        Ok(())
    });
}

#[test]
fn wrong_document_keeps_its_last_good_version_and_harms_no_other() {
    check_running(|place, daemon| {
        let wrong = entry("frontend", "db", "db.example.com", 0);
        let other = entry("default", "db", "db.example.com", 5432);
        place.write("db.yaml", &format!("{wrong}---\n{other}"))?;
        place.until("default", DB, true)?;
        assert!(
            place.reaches("frontend", DB)?,
            "the last good version is in force"
        );
        let line = daemon.line(&["db.yaml:"])?;
        for part in [
            "ServiceEntry frontend/db",
            "spec.ports[0].number",
            "the last good version stays in force",
        ] {
            assert!(line.contains(part), "{part:?} is missing in {line}");
        }
        place.write("db.yaml", "{ this is not YAML")?;
        daemon.line(&["db.yaml:", "not YAML"])?;
        assert!(place.reaches("frontend", DB)? && place.reaches("default", DB)?);
        Ok(())
    });
}

#[test]
fn field_that_nobody_reads_is_a_warning_with_its_place() {
    check_running(|place, daemon| {
        let odd = entry("frontend", "odd", "odd.example.com", 443).replace("exportTo", "exportto");
        place.write("odd.yaml", &odd)?;
        let line = daemon.line(&[
            "WARN",
            "odd.yaml:6: ServiceEntry frontend/odd: spec.exportto: unknown field",
        ])?;
        let status = place.until_status("warning", |status| !status.warnings.is_empty())?;
        assert!(line.contains(&status.warnings[0]), "{line} {:?}", status.warnings);
        Ok(())
    });
}

#[test]
fn changed_dns_answer_is_allowed_and_the_old_one_for_its_grace() {
    check_running(|place, _| {
        assert!(!place.reaches("frontend", "192.0.2.11:5432")?);
        place.resolve("192.0.2.11 db.example.com\n")?;
        place.until("frontend", "192.0.2.11:5432", true)?;
        assert!(
            place.reaches("frontend", DB)?,
            "applications keep addresses for a while"
        );
        place.until("frontend", DB, false)?;
        assert!(place.reaches("frontend", "192.0.2.11:5432")?);
        Ok(())
    });
}

#[test]
fn resolver_that_dies_shrinks_nothing() {
    check_running(|place, daemon| {
        place.stop_resolving()?;
        daemon.line(&["db.example.com", "addresses that it had last stay allowed"])?;
        assert!(place.reaches("frontend", DB)?);
        place.resolve("192.0.2.12 db.example.com\n")?;
        place.until("frontend", "192.0.2.12:5432", true)?;
        Ok(())
    });
}

#[test]
fn host_that_never_resolves_is_reported_and_holds_nobody_up() {
    check(|place| {
        place.write(
            "never.yaml",
            &entry("frontend", "never", "never.example.com", 443),
        )?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&["never.example.com", "no address of it is known"])?;
        assert!(place.reaches("frontend", DB)?);
        Ok(())
    });
}

#[test]
fn workload_may_come_go_and_come_again() {
    check(|place| {
        for name in ["frontend", "default"] {
            place.remove_cgroup(name)?;
        }
        let daemon = place.start(&["--ephemeral"])?;
        assert!(
            daemon.announced.contains("enforcement is in force: workloads 2"),
            "what does not exist is made: {}",
            daemon.announced
        );
        for _ in 0..3 {
            place.until("frontend", "192.0.2.10:5433", false)?;
            assert!(place.reaches("frontend", DB)?);
            place.remove_cgroup("frontend")?;
        }
        Ok(())
    });
}

#[test]
fn enforced_root_covers_its_children_from_their_first_call() {
    check(|place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{config}roots: [$CGROUP]\n"))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(!place.reaches("stranger", DB)?, "nobody knows it");
        daemon.line(&["denied cgroup", "belongs to no configured workload"])?;
        place.remove_cgroup("default")?;
        assert!(!place.reaches("default", DB)?, "it has just been made");
        place.write("default.yaml", &entry("default", "db", "db.example.com", 5432))?;
        place.until("default", DB, true)?;
        Ok(())
    });
}

#[test]
fn unknown_workload_that_is_let_through_is_told() {
    check(|place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{config}roots: [$CGROUP]\nunknownWorkloads: allow\n"))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches("stranger", DB)?, "it is configured so");
        assert!(!place.reaches("default", DB)?, "it is known");
        daemon.line(&[
            "unregistered cgroup",
            "192.0.2.10:5432",
            "belongs to no configured workload",
        ])?;
        Ok(())
    });
}

#[test]
fn sigterm_leaves_enforcement_in_force_and_the_next_start_takes_it_up() {
    check(|place| {
        for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT] {
            let mut daemon = place.start(&[])?;
            assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
            let (status, took) = daemon.end(signal)?;
            // Long before the kubelet loses its patience (30 s).
            assert!(took < Duration::from_secs(10), "{signal} took {took:?}");
            assert!(
                signal == Signal::SIGKILL || status.success(),
                "{signal}: {status}"
            );
            assert!(place.reaches("frontend", DB)?, "after {signal}");
            assert!(!place.reaches("default", DB)?, "after {signal}");
        }
        let detached = String::from_utf8(place.command(&["detach"]).output()?.stdout)?;
        let links = detached
            .strip_prefix("removed ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        assert!(
            links.is_some_and(|links: u32| links >= 2 * 4),
            "four programs at each of two roots: {detached}"
        );
        assert!(!place.state().exists());
        // The kernel detaches some time after the last pin is gone (`bpf_link_put` has a worker do it).
        place.until("default", DB, true)?;
        let nothing = place.command(&["detach"]).output()?;
        let error = String::from_utf8(nothing.stderr)?;
        assert_eq!(nothing.status.code(), Some(1), "{error}");
        assert!(
            error.contains("no pins of an enforcer were found below"),
            "{error}"
        );
        let nothing = place.command(&["detach", "--allow-nothing"]).output()?;
        assert_eq!(nothing.status.code(), Some(0));
        assert!(String::from_utf8(nothing.stdout)?.starts_with("nothing to remove"));
        Ok(())
    });
}

#[test]
fn detach_fails_where_programs_still_run_whose_pins_it_does_not_find() {
    check(|place| {
        place.start(&[])?.end(Signal::SIGTERM)?;
        // Another bpffs over the one that has the pins.
        let bpffs = place.bpffs();
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), &bpffs, Some("bpf"), none, None::<&str>)?;
        let detach = place.command(&["detach"]).output()?;
        let error = String::from_utf8(detach.stderr)?;
        assert_eq!(detach.status.code(), Some(1), "{error}");
        let cgroup = place.cgroup.path().join("frontend").display().to_string();
        for part in [
            "programs of an enforcer are still attached at",
            cgroup.as_str(),
            "another bpffs",
        ] {
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
        assert!(!place.reaches("default", DB)?, "it is still enforced");
        nix::mount::umount(&bpffs)?;
        assert!(place.command(&["detach"]).status()?.success());
        place.until("default", DB, true)?;
        Ok(())
    });
}

#[test]
fn log_says_what_starts_and_at_the_end_what_stays_in_force() {
    check(|place| {
        let config = place.config().display().to_string();
        let mut daemon = place.start(&[])?;
        daemon.line(&["enforcer 0.", "starts: mode enforce", &config])?;
        daemon.end(Signal::SIGTERM)?;
        daemon.line(&["SIGTERM", "stays in force", "`enforcer detach` ends enforcement"])?;
        let text = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{text}mode: audit\n"))?;
        let mut daemon = place.start(&["--ephemeral"]).or_else(|_| {
            // What is pinned is another enforcer's business no more.
            place.command(&["detach"]).status()?;
            place.start(&["--ephemeral"])
        })?;
        daemon.line(&["starts: mode audit"])?;
        daemon.end(Signal::SIGINT)?;
        daemon.line(&["SIGINT", "nothing is enforced any more"])?;
        Ok(())
    });
}

#[test]
fn start_right_after_kill_takes_everything_up() {
    check(|place| {
        for _ in 0..5 {
            let daemon = place.start(&[])?;
            // Without waiting for its end, as `kill -9` does.
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(daemon.pid().try_into()?),
                Signal::SIGKILL,
            )?;
            let next = place.start(&[])?;
            assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
            drop((daemon, next));
        }
        Ok(())
    });
}

#[test]
fn removed_state_folder_is_made_again() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        std::fs::remove_dir_all(place.state())?;
        daemon.line(&["WARN", "was removed and is created again"])?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

#[test]
fn what_allow_any_lets_through_is_said_at_the_start_and_in_the_status() {
    check(|place| {
        let mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
                    data: {mesh: 'outboundTrafficPolicy: {mode: ALLOW_ANY}'}\n";
        place.write("mesh.yaml", mesh)?;
        let daemon = place.start(&["--ephemeral"])?;
        let names = "lets 2 of the workloads reach everything: default/app, frontend/web";
        assert!(
            daemon
                .announced
                .starts_with("enforcement is in force: workloads 2")
        );
        assert!(daemon.announced.contains(names), "{}", daemon.announced);
        let status = place.until_status("proof", |status| status.proven)?;
        assert_eq!(status.allow_any, ["default/app", "frontend/web"]);
        let text = String::from_utf8(place.command(&["status"]).output()?.stdout)?;
        assert!(
            text.lines().nth(1).is_some_and(|line| line.contains(names)),
            "{text}"
        );
        place.remove("mesh.yaml")?;
        place.until_status("REGISTRY_ONLY", |status| status.allow_any.is_empty())?;
        Ok(())
    });
}

#[test]
fn root_of_the_configuration_that_was_removed_is_in_the_summary_and_the_exit_code() {
    check(|place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!(
            "{config}roots: [$CGROUP/frontend, $CGROUP/default, $CGROUP/late]\n"
        ))?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.until_status("proof, also at the root that was made", |status| status.proven)?;
        place.remove_cgroup("late")?;
        place.until_status("root that is gone", |status| !status.proven)?;
        let output = place.command(&["status"]).output()?;
        let text = String::from_utf8(output.stdout)?;
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("enforcement: NOT PROVEN"), "{text}");
        assert!(
            text.lines()
                .any(|line| line.contains("  ! the cgroup") && line.contains("/late does not exist"))
        );
        place.cgroup.child("late")?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

#[test]
fn entry_that_explain_prints_is_yaml_with_everything_else_as_comments() {
    check(|place| {
        let explain = ["explain", "--namespace", "default", "--entry", "192.0.2.10:5432"];
        let output = place.command(&explain).output()?;
        let text = String::from_utf8(output.stdout)?;
        assert!(text.contains("# mode: enforce\n# matching: declared\n"), "{text}");
        std::fs::write(place.folder.path().join("suggested.yaml"), &text)?;
        let mut check = std::process::Command::new(BINARY);
        let check = check
            .arg("check")
            .arg(place.folder.path().join("suggested.yaml"))
            .output()?;
        let said = String::from_utf8(check.stdout)?;
        assert_eq!(
            (check.status.code(), said.lines().count()),
            (Some(0), 1),
            "{said}{text}"
        );
        Ok(())
    });
}

#[test]
fn start_without_resolver_keeps_what_an_earlier_one_had_resolved() {
    check(|place| {
        let memory = place.state().join("names.json");
        let mut daemon = place.start(&[])?;
        wait("memory of names", || Ok(memory.exists()))?;
        daemon.end(Signal::SIGKILL)?;
        place.stop_resolving()?;
        let daemon = place.start(&[])?;
        assert!(place.reaches("frontend", DB)?, "{}", daemon.announced);
        Ok(())
    });
}

#[test]
fn ephemeral_enforcer_takes_everything_away() {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(!place.reaches("default", DB)?);
        daemon.end(Signal::SIGTERM)?;
        place.until("default", DB, true)?;
        assert!(!place.bpffs().join("enforcer").exists());
        Ok(())
    });
}

#[test]
fn second_enforcer_is_refused_and_names_the_first() {
    check(|place| {
        let first = place.start(&[])?;
        let pid = format!("another enforcer (pid {})", first.pid());
        let refusal = place.refusal(&[])?;
        assert!(refusal.contains(&pid), "{refusal}");
        let refusal = place.refusal(&["--ephemeral"])?;
        assert!(refusal.contains(&pid), "{refusal}");
        let detach = place.command(&["detach"]).output()?;
        assert!(!detach.status.success());
        assert!(String::from_utf8(detach.stderr)?.contains(&pid));
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        Ok(())
    });
}

#[test]
fn configured_errno_is_returned() {
    check(|place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{config}deny: {{errno: EACCES}}\n"))?;
        let _daemon = place.start(&["--ephemeral"])?;
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(
                place.call("default", transport, DB)?,
                Outcome::Refused(libc::EACCES)
            );
        }
        Ok(())
    });
}

#[test]
fn audit_lets_through_and_reports() {
    check(|place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{config}mode: audit\n"))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches("default", DB)?);
        daemon.line(&["would deny default/app", "192.0.2.10:5432"])?;
        Ok(())
    });
}

#[test]
fn datagram_connects_do_not_flood_the_log() {
    check_running(|place, daemon| {
        for _ in 0..200 {
            assert_eq!(
                place.call("default", Transport::Udp, DB)?,
                Outcome::Refused(libc::EPERM)
            );
        }
        assert!(!place.reaches("default", DB)?);
        daemon.line(&["denied", "tcp"])?;
        let lines = daemon.seen.iter().filter(|line| line.contains("udp")).count();
        assert!(lines <= 2, "{lines} lines of one repeated refusal");
        Ok(())
    });
}

#[test]
fn rule_for_any_address_is_allowed_with_a_warning_that_names_the_entry() {
    check(|place| {
        let entry =
            entry("frontend", "any", "any.example.com", 7777).replace("resolution: DNS", "resolution: NONE");
        place.write("any.yaml", &entry)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches("frontend", "198.51.100.1:7777")?);
        daemon.line(&["WARN", "ServiceEntry frontend/any"])?;
        Ok(())
    });
}

#[test]
fn programs_write_their_own_log_where_asked_to() {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral", "--debug-programs", "--log-level", "debug"])?;
        assert!(!place.reaches("default", DB)?);
        let verdict = enforcer_common::Verdict::Deny as u8;
        daemon.line(&[
            "protocol 6 address ::ffff:192.0.2.10 port 5432",
            &format!("verdict {verdict}"),
        ])?;
        Ok(())
    });
}

#[test]
fn flows_that_are_not_logged_are_counted() {
    check(|place| {
        let mut daemon = place.start(&["--ephemeral"])?;
        for _ in 0..3 * Share::LIMIT {
            assert!(!place.reaches("default", DB)?);
        }
        daemon.line(&["default/app", "events were not logged, beyond its share"])?;
        Ok(())
    });
}

#[test]
fn resolvers_may_be_asked_by_everybody() {
    check_running(|place, _| {
        let resolver = format!("{RESOLVER}:53");
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(place.call("default", transport, &resolver)?, Outcome::Through);
        }
        assert_eq!(
            place.call("default", Transport::Udp, "192.0.2.54:53")?,
            Outcome::Refused(libc::EPERM)
        );
        Ok(())
    });
}

#[test]
fn exec_runs_inside_the_workload() {
    check_running(|place, _| {
        let mut exec = place.command(&["exec", "--namespace", "frontend"]);
        let output = exec.args(["--", "cat", "/proc/self/cgroup"]).output()?;
        let cgroup = format!("{}/frontend", place.cgroup.path().display());
        assert!(
            String::from_utf8(output.stdout)?
                .lines()
                .any(|line| line == format!("0::{cgroup}"))
        );
        let mut exec = place.command(&["exec", "--namespace", "frontend"]);
        assert_eq!(exec.args(["--", "sh", "-c", "exit 7"]).status()?.code(), Some(7));
        let mut exec = place.command(&["exec", "--namespace", "frontend"]);
        let killed = exec.args(["--", "sh", "-c", "kill -TERM $$"]).status()?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&killed);
        assert_eq!(signal, Some(libc::SIGTERM), "a shell calls that 128 + 15");
        for (command, code) in [("/nowhere/command", 127), ("/", 126)] {
            let mut exec = place.command(&["exec", "--namespace", "frontend"]);
            assert_eq!(
                exec.args(["--", command]).status()?.code(),
                Some(code),
                "{command}"
            );
        }
        let mut exec = place.command(&["exec", "--namespace", "nowhere"]);
        let output = exec.args(["--", "true"]).output()?;
        assert_eq!(output.status.code(), Some(125));
        assert_eq!(
            String::from_utf8(output.stderr)?,
            "error: no workload is configured in namespace nowhere\n"
        );
        Ok(())
    });
}

#[test]
fn exec_starts_nothing_where_nothing_is_enforced_unless_it_is_told_to() {
    check(|place| {
        let exec = |options: &[&str]| {
            let words = [&["exec", "--namespace", "frontend"], options].concat();
            place.command(&words).args(["--", "echo", "started"]).output()
        };
        let refused = exec(&[])?;
        let error = String::from_utf8(refused.stderr)?;
        assert_eq!(
            (refused.status.code(), refused.stdout.as_slice()),
            (Some(125), &b""[..]),
            "{error}"
        );
        assert!(
            error.contains("is not enforced") && error.contains("--allow-unenforced"),
            "{error}"
        );
        let told = exec(&["--allow-unenforced"])?;
        assert_eq!(
            (told.status.code(), told.stdout.as_slice()),
            (Some(0), &b"started\n"[..])
        );
        Ok(())
    });
}

#[test]
fn registry_of_fifty_thousand_documents_is_taken() {
    check(|place| {
        let documents: Vec<_> = (0..50_000)
            .map(|number| entry("elsewhere", &format!("e{number}"), "db.example.com", 5432))
            .collect();
        for (part, documents) in documents.chunks(10_000).enumerate() {
            place.write(&format!("part{part}.yaml"), &documents.join("---\n"))?;
        }
        let daemon = place.start(&["--ephemeral"])?;
        assert!(
            place.reaches("frontend", DB)? && !place.reaches("default", DB)?,
            "{}",
            daemon.announced
        );
        Ok(())
    });
}

#[test]
fn files_that_are_no_registry_are_reported_and_harm_nothing() {
    check(|place| {
        let registry = place.folder.path().join("registry");
        std::fs::write(registry.join("garbage.yaml"), [0xff, 0xfe, 0, 1, 2, 0x80])?;
        std::fs::File::create(registry.join("huge.yaml"))?.set_len(100 << 20)?;
        std::os::unix::fs::symlink("loop.yaml", registry.join("loop.yaml"))?;
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (one, next) in ('a'..='i').zip('b'..='j') {
            let references = vec![format!("*{one}"); 10].join(", ");
            bomb.push_str(&format!("{next}: &{next} [{references}]\n"));
        }
        std::fs::write(registry.join("bomb.yaml"), bomb)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        for file in ["bomb.yaml", "garbage.yaml", "huge.yaml", "loop.yaml"] {
            wait(file, || {
                daemon.lines();
                Ok(daemon.seen.iter().any(|line| line.contains(file)))
            })?;
        }
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        Ok(())
    });
}

#[test]
fn empty_registry_refuses_everything() {
    check(|place| {
        place.remove("db.yaml")?;
        let daemon = place.start(&["--ephemeral"])?;
        assert!(daemon.announced.contains("policies 1"), "{}", daemon.announced);
        assert!(!place.reaches("frontend", DB)?);
        Ok(())
    });
}
