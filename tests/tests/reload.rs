//! A changed configuration is taken up by the running enforcer.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{fs, process::Output};

use anyhow::Result;
use nix::sys::signal::Signal;
use tests::{
    daemon::Place,
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "registry:
  files: [registry/]
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
- {namespace: default, name: app, cgroup: $CGROUP/default}
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 2s, timeout: 500ms}
";

const DB: &str = "192.0.2.10:5432";

const ENTRY: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: frontend}
spec:
  hosts: [db.example.com]
  exportTo: ['.']
  resolution: DNS
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    let run = || {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.resolve("192.0.2.10 db.example.com\n")?;
        place.write("db.yaml", ENTRY)?;
        claim(&mut place)
    };
    in_own_network(run).unwrap();
}

fn reload(place: &Place) -> Result<Output> {
    Ok(place.command(&["reload"]).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn wrong_configuration_changes_nothing_and_says_so_with_its_line() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        place.until("frontend", DB, true)?;
        place.configure(&format!("{CONFIG}udp: nonsense\n"))?;
        let output = reload(place)?;
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said(&output).contains("enforcer.yaml:7: unknown value"),
            "{}",
            said(&output)
        );
        let status = place.until_status("what is on disk", |status| status.configuration.has_changed)?;
        assert!(
            status
                .to_string()
                .contains("configuration changed on disk, not taken up"),
            "{status}"
        );
        // The signal alone says it in the log, and in the status.
        daemon.signal(Signal::SIGHUP)?;
        daemon.line(&["ERROR", "enforcer.yaml:7: unknown value", "nothing is changed"])?;
        let status = place.until_status("refusal", |status| status.configuration.refused.is_some())?;
        assert!(status.to_string().contains("configuration refused"), "{status}");
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        Ok(())
    });
}

#[test]
fn what_needs_a_start_is_refused_by_name() {
    check(|place| {
        let _daemon = place.start(&[])?;
        place.configure(&format!("{CONFIG}mode: audit\ncapacities: {{exact: 100}}\n"))?;
        let output = reload(place)?;
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        assert!(
            said.contains("another capacities") && said.contains("systemctl restart"),
            "{said}"
        );
        assert!(!place.reaches("default", DB)?, "nothing of it was taken up");
        Ok(())
    });
}

#[test]
fn mode_and_workloads_are_taken_up() {
    check(|place| {
        let _daemon = place.start(&[])?;
        place.until("frontend", DB, true)?;
        assert!(!place.reaches("default", DB)?);
        place.configure(&format!("{CONFIG}mode: audit\n"))?;
        let output = reload(place)?;
        assert!(output.status.success(), "{}", said(&output));
        assert!(place.reaches("default", DB)?);
        let status = place.until_status("proof", |status| status.proven)?;
        assert_eq!(
            (status.mode.as_str(), status.configuration.has_changed),
            ("audit", false)
        );
        let other = CONFIG.replace(
            "name: app, cgroup: $CGROUP/default",
            "name: app, cgroup: $CGROUP/other",
        );
        place.configure(&other)?;
        let output = reload(place)?;
        assert!(output.status.success(), "{}", said(&output));
        assert!(place.cgroup.folder().join("other").is_dir(), "it is made");
        assert!(!place.reaches("other", DB)?, "it is enforced from its first call");
        assert!(place.reaches("default", DB)?, "it is no longer configured");
        assert!(place.reaches("frontend", DB)?);
        let status = place.until_status("proof", |status| status.proven)?;
        assert_eq!(status.roots.len(), 2);
        // What is changed afterwards is followed.
        place.write("db.yaml", &ENTRY.replace("5432", "5433"))?;
        place.until("frontend", DB, false)?;
        Ok(())
    });
}

#[test]
fn nothing_registered_is_refused_and_nothing_else_is_let_through_meanwhile() {
    check(|place| {
        let mut daemon = place.start(&[])?;
        place.until("frontend", DB, true)?;
        let mut calls = 0;
        for round in 0..6 {
            let labels = format!("name: web, labels: {{round: r{round}}}");
            place.configure(&CONFIG.replace("name: web", &labels))?;
            let mut reload = place.command(&["reload"]).spawn()?;
            while reload.try_wait()?.is_none() {
                assert!(place.reaches("frontend", DB)?, "round {round}, call {calls}");
                assert!(!place.reaches("default", DB)?, "round {round}, call {calls}");
                calls += 1;
            }
            assert!(reload.wait()?.success());
        }
        assert!(calls > 0);
        assert_eq!(daemon.end(Signal::SIGTERM)?.0.code(), Some(0));
        assert!(
            fs::exists(place.state().join("names.json"))?,
            "names are kept by the last one"
        );
        Ok(())
    });
}
