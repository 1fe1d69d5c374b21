//! What workloads are seen to reach: kept by the daemon, and shown as it happens.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, ChildStdout, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use enforcer_common::Transport;
use enforcer_core::observed::{Observation, Seen};
use nix::sys::signal::Signal;
use serde_json::Value;
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: shop, name: web, cgroup: $CGROUP/web}
- {namespace: shop, name: job, cgroup: $CGROUP/job, mode: audit}
- {namespace: lab, name: app, cgroup: $CGROUP/app}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

const ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  resolution: DNS
  exportTo: ['.']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dns, namespace: shop}
spec:
  hosts: [dns.example.com]
  addresses: [192.0.2.11]
  resolution: NONE
  ports: [{number: 5353, name: udp, protocol: UDP}]
";

const DB: &str = "192.0.2.10:5432";

/// Runs `claim` in a place with the entries, and `more` at the end of the configuration.
fn check(more: &str, claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = place(more)?;
        let mut daemon = place.start(&[])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

fn place(more: &str) -> Result<Place> {
    let mut place = Place::with_bpffs(BINARY, &format!("{CONFIG}{more}"))?;
    place.resolve("192.0.2.10 db.example.com\n")?;
    place.write("entries.yaml", ENTRIES)?;
    for name in ["web", "job", "app"] {
        place.cgroup.child(name)?;
    }
    Ok(place)
}

/// What is kept of a workload's calls to a place, by its verdict.
fn kept(place: &Place, workload: &str, to: &str) -> Result<Option<Observation>> {
    let to: SocketAddr = to.parse()?;
    let all = place.observed()?.observations;
    let is_it = |it: &Observation| {
        it.workload == workload && it.addresses.contains(&to.ip()) && it.port == to.port() && !it.probe
    };
    Ok(all.into_iter().find(is_it))
}

#[test]
fn every_call_is_kept_with_its_verdict_object_and_count() {
    check("", |place, _| {
        for _ in 0..3 {
            place.call("web", Transport::Tcp, DB)?;
            place.call("job", Transport::Tcp, "192.0.2.12:443")?;
        }
        place.call("app", Transport::Tcp, DB)?;
        place.call("web", Transport::Udp, "192.0.2.11:5353")?;
        place.call("web", Transport::Tcp, "127.0.0.1:5432")?;
        let known = |workload, to| kept(place, workload, to)?.context("it is not kept");
        let allowed = known("web", DB)?;
        assert_eq!((allowed.verdict, allowed.count), (Seen::Allow, 3));
        assert_eq!(allowed.host.as_deref(), Some("db.example.com"));
        assert_eq!(allowed.object.as_deref(), Some("ServiceEntry shop/db"));
        let audited = known("job", "192.0.2.12:443")?;
        assert_eq!(
            (audited.verdict, audited.count, audited.host.clone()),
            (Seen::Audit, 3, None)
        );
        let refused = known("app", DB)?;
        assert_eq!((refused.verdict, refused.count), (Seen::Deny, 1));
        assert_eq!(
            refused.reason.as_deref(),
            Some("ServiceEntry shop/db is not exported to lab")
        );
        assert_eq!(known("web", "192.0.2.11:5353")?.verdict, Seen::Allow);
        assert!(audited.first <= audited.last);
        assert_eq!(
            kept(place, "web", "127.0.0.1:5432")?,
            None,
            "it stays on the machine"
        );
        assert_eq!(place.observed()?.dropped, 0);
        Ok(())
    });
}

#[test]
fn mode_changes_live_by_namespace_or_workload_and_nothing_else_does() {
    check("", |place, _| {
        let unregistered = "192.0.2.12:443";
        let namespace = |mode: &str| {
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: lab, labels: {{enforcer.dev/mode: {mode}}}}}\n"
            )
        };
        let _server = TcpListener::bind(DB)?;
        place.probe("web")?.hold(Transport::Tcp, DB.parse()?)?;
        assert!(!place.reaches("app", unregistered)?);
        place.write("namespace.yaml", &namespace("audit"))?;
        place.until("app", unregistered, true)?;
        assert!(!place.reaches("web", unregistered)?, "shop is as before");
        place.write("namespace.yaml", &namespace("enforce"))?;
        place.until("app", unregistered, false)?;
        place.configure(&CONFIG.replace("/app}", "/app, mode: audit}"))?;
        assert!(place.command(&["reload"]).status()?.success());
        assert!(place.reaches("app", unregistered)?);
        assert!(!place.reaches("web", unregistered)?);
        assert_eq!(
            kept(place, "app", unregistered)?.map(|it| it.verdict),
            Some(Seen::Audit)
        );
        // A connection that was open all the time is.
        assert_eq!(place.probe("web")?.held_errno(Duration::from_millis(1))?, None);
        Ok(())
    });
}

#[test]
fn observations_outlive_a_restart_and_a_damaged_file_is_moved_aside() {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = place("")?;
        let file = place.state().with_file_name("observed.jsonl");
        place.configure(&format!("{CONFIG}observe: {{file: {}}}\n", file.display()))?;
        let mut daemon = place.start(&[])?;
        place.call("app", Transport::Tcp, DB)?;
        place.call("web", Transport::Tcp, DB)?;
        daemon.end(Signal::SIGTERM)?;
        let lines = fs::read_to_string(&file)?;
        assert_eq!(lines.lines().count(), 2, "{lines}");
        let mut daemon = place.start(&[])?;
        place.call("app", Transport::Tcp, DB)?;
        assert_eq!(kept(&place, "app", DB)?.map(|it| it.count), Some(2));
        daemon.end(Signal::SIGTERM)?;
        let whole = fs::read_to_string(&file)?;
        let (first, _) = whole.split_once('\n').context("two lines")?;
        fs::write(&file, format!("{first}\n{{\"namespace\":\"sh"))?;
        let mut daemon = place.start(&[])?;
        daemon.line(&["1 lines of", "are damaged", "the other 1 observations are used"])?;
        assert!(file.with_extension("damaged").exists());
        assert_eq!(place.observed()?.observations.len(), 1);
        assert!(!place.reaches("app", DB)? && place.reaches("web", DB)?);
        daemon.end(Signal::SIGTERM)?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn file_that_cannot_be_written_is_told_and_nothing_else_happens() {
    check("observe: {file: /proc/none/observed.jsonl}\n", |place, daemon| {
        assert!(place.reaches("web", DB)? && !place.reaches("app", DB)?);
        place.until_status("it is proven", |status| status.proven)?;
        // At the end it is written, and cannot be.
        daemon.signal(Signal::SIGTERM)?;
        daemon.line(&[
            "what workloads were seen to reach is not kept",
            "enforcement is not affected",
        ])?;
        Ok(())
    });
}

#[test]
fn status_says_that_the_file_is_not_written_and_why() {
    check("observe: {file: /proc}\n", |place, _| {
        let file = |status: &enforcer::control::Status| status.observed_file.clone().unwrap_or_default();
        let status = place.until_status("the file fails", |status| file(status).error.is_some())?;
        let file = file(&status);
        assert_eq!(file.path, "/proc");
        assert!(file.failing_seconds.is_some_and(|seconds| seconds >= 0.0));
        let text = place.command(&["status"]).output()?.stdout;
        let text = String::from_utf8(text)?;
        let said = "  ! what workloads were seen to reach is not kept in /proc, for ";
        assert!(text.contains(said), "{text}");
        Ok(())
    });
}

#[test]
fn file_that_cannot_be_read_is_left_as_it_is() {
    check("observe: {file: /proc}\n", |place, daemon| {
        daemon.line(&[
            "what an earlier start has seen",
            "is left as it is",
            "enforcement is not affected",
        ])?;
        assert!(place.reaches("web", DB)? && !place.reaches("app", DB)?);
        assert_eq!(daemon.end(Signal::SIGTERM)?.0.code(), Some(0));
        Ok(())
    });
}

/// `enforcer monitor`, and what it prints.
struct Monitor {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Monitor {
    fn start(place: &Place, arguments: &[&str]) -> Result<Self> {
        let mut words = vec!["monitor", "-o", "json"];
        words.extend(arguments);
        let mut child = place.command(&words).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("it is piped")?);
        Ok(Self { child, lines })
    }

    fn next(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the monitor says {line:?}"))
    }

    /// The next line of a verdict on an address.
    fn next_to(&mut self, verdict: &str, address: &str) -> Result<Value> {
        loop {
            let line = self.next()?;
            if line["verdict"] == verdict && line["address"] == address {
                return Ok(line);
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).unwrap();
    }
}

/// Makes calls that no rule allows until the monitor has read so many lines.
fn until_it_has_read(lines: usize, place: &mut Place, monitor: &mut Monitor) -> Result<()> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let read = (0..lines).try_for_each(|_| monitor.next().map(drop));
            is_over.store(true, Ordering::Relaxed);
            read
        });
        let mut n = 0;
        while !is_over.load(Ordering::Relaxed) {
            n += 1;
            let to = SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 4433);
            for workload in ["job", "web"] {
                place.probe(workload)?.call(Transport::Udp, to)?;
                place.probe(workload)?.call(Transport::Tcp, to)?;
            }
        }
        reading.join().map_err(|_| anyhow!("reading has panicked"))?
    })
}

#[test]
fn monitor_shows_each_call_by_its_filters() {
    check("", |place, _| {
        let mut all = Monitor::start(place, &[])?;
        let mut audited = Monitor::start(
            place,
            &["--verdict", "audit,deny", "--namespace", "shop", "--port", "443"],
        )?;
        until_it_has_read(1, place, &mut all)?;
        place.call("web", Transport::Tcp, DB)?;
        place.call("app", Transport::Tcp, DB)?;
        place.call("job", Transport::Tcp, "192.0.2.12:443")?;
        let line = all.next_to("deny", "192.0.2.10")?;
        assert_eq!(line["workload"], "lab/app");
        assert_eq!(line["host"], "db.example.com");
        assert_eq!(line["object"], "ServiceEntry shop/db");
        assert_eq!(line["suggestion"], "add lab to exportTo of ServiceEntry shop/db");
        assert!(line["pid"].is_u64() && line["process"].is_string() && line["time"].is_string());
        let line = all.next_to("allow", "192.0.2.10")?;
        assert_eq!(
            (&line["workload"], &line["count"]),
            (&"shop/web".into(), &1.into())
        );
        assert_eq!(audited.next()?["address"], "192.0.2.12");
        // What was told before, without waiting for more. Workloads take turns, so that another's last call may be told later.
        let last = place
            .command(&[
                "monitor",
                "--last",
                "1",
                "--verdict",
                "deny",
                "--namespace",
                "lab",
            ])
            .output()?;
        let text = String::from_utf8_lossy(&last.stdout).into_owned();
        assert!(last.status.success());
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(
            text.contains("denied lab/app") && text.contains("-> tcp db.example.com (192.0.2.10:5432)"),
            "{text}"
        );
        let none = place
            .command(&["monitor", "--last", "5", "--host", "*.example.org"])
            .output()?;
        assert!(none.stdout.is_empty());
        Ok(())
    });
}

#[test]
fn monitors_that_do_not_read_slow_nobody_and_are_told_what_they_missed() {
    check("", |place, _| {
        let mut silent = Vec::new();
        for _ in 0..9 {
            silent.push(Monitor::start(place, &[])?);
        }
        let mut reader = Monitor::start(place, &[])?;
        // More than pipes, sockets and the queue hold.
        until_it_has_read(8_000, place, &mut reader)?;
        assert!(place.reaches("web", DB)? && !place.reaches("app", DB)?);
        place.until_status("it is proven", |status| status.proven)?;
        let mut missed = 0;
        let first = silent.first_mut().context("nine monitors")?;
        place.call("app", Transport::Tcp, DB)?;
        loop {
            let line = first.next()?;
            missed += line["missed"].as_u64().unwrap_or_default();
            if line["workload"] == "lab/app" {
                break;
            }
        }
        println!("monitors: {missed} lines missed by one that did not read");
        assert!(missed > 0);
        Ok(())
    });
}

#[test]
fn who_tries_everything_displaces_nothing_of_others_and_is_counted() {
    check("observe: {entries: 256}\n", |place, _| {
        place.call("web", Transport::Tcp, DB)?;
        wait("the first call is kept", || Ok(kept(place, "web", DB)?.is_some()))?;
        let tried = 100_000_u32;
        for n in 0..tried {
            let to = SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + n).into(), 4433);
            assert!(place.probe("app")?.is_refused(Transport::Udp, to)?);
        }
        let all = place.observed()?;
        let kept_calls: u64 = all
            .observations
            .iter()
            .filter(|it| it.workload == "app")
            .map(|it| it.count)
            .sum();
        println!(
            "observations: {} kept, {} calls dropped",
            all.observations.len(),
            all.dropped
        );
        assert!(all.observations.len() <= 256);
        assert_eq!(kept(place, "web", DB)?.map(|it| it.verdict), Some(Seen::Allow));
        wait("all of it is counted", || {
            Ok(place.observed()?.dropped + kept_calls >= u64::from(tried))
        })?;
        Ok(())
    });
}
