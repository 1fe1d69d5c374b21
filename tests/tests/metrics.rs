//! What Prometheus scrapes, of the daemon on the real kernel.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{in_own_network, need_root},
    openmetrics::{Exposition, get, request, scrape},
    probe::Probe,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: shop, name: web, cgroup: $CGROUP/web}
- {namespace: shop, name: job, cgroup: $CGROUP/job, mode: audit}
- {namespace: lab, name: app, cgroup: $CGROUP/app}
dns: {servers: [192.0.2.53], timeout: 500ms}
metrics: {listen: '127.0.0.1:9967'}
";

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  addresses: [192.0.2.10]
  exportTo: ['.']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: lab}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}
";

const DB: &str = "192.0.2.10:5432";
const ELSEWHERE: &str = "192.0.2.12:443";

fn listener() -> SocketAddr {
    "127.0.0.1:9967".parse().unwrap()
}

/// Runs `claim` in a place with the registry, in a network in which every address is local.
fn check(config: &str, claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, config)?;
        place.write("registry.yaml", REGISTRY)?;
        let mut daemon = place.start(&[])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

/// Has processes in a cgroup call a destination all at once, so often each.
fn call_abreast(cgroups: &[&Path], to: &str, times: u32) -> Result<u32> {
    let to: SocketAddr = to.parse()?;
    let mut probes = Vec::new();
    for cgroup in cgroups {
        probes.push(Probe::start(Path::new(BINARY), cgroup)?);
    }
    let callers: u32 = probes.len().try_into()?;
    thread::scope(|scope| {
        let threads: Vec<_> = probes
            .into_iter()
            .map(|mut probe| {
                scope.spawn(move || {
                    for _ in 0..times {
                        probe.call(Transport::Tcp, to)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("the thread does not panic"))
    })?;
    Ok(callers * times)
}

/// How many verdicts there were, by namespace, workload, verdict and reason; those of nobody left out.
fn verdicts(told: &Exposition) -> BTreeMap<String, u64> {
    let all = told.all("enforcer_verdicts_total");
    let all = all.filter(|(labels, _)| labels["workload"] != "(any)");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "they are small"
    )]
    let by_words = all.map(|(labels, count)| {
        let words = ["namespace", "workload", "verdict", "reason"].map(|label| labels[label].as_str());
        (words.join(" "), count as u64)
    });
    by_words.collect()
}

/// Waits until exactly these verdicts are told.
fn until_told(expected: &[(&str, u32)]) -> Result<()> {
    let expected: BTreeMap<_, _> = expected
        .iter()
        .map(|(words, count)| ((*words).to_owned(), u64::from(*count)))
        .collect();
    let mut last = BTreeMap::new();
    let waited = wait("such numbers", || {
        last = verdicts(&scrape(listener())?);
        Ok(last == expected)
    });
    waited.with_context(|| format!("told was {last:#?} in place of {expected:#?}"))
}

#[test]
fn every_verdict_is_counted_for_its_workload_however_many_call_at_once_and_over_a_kill() {
    check(CONFIG, |place, daemon| {
        let folder = |name: &str| place.cgroup.child(name);
        let (web, job, app) = (folder("web")?, folder("job")?, folder("app")?);
        let below = place.cgroup.child("web/inner")?;
        let web = [web.as_path(), &below, &web];
        let refused = call_abreast(&web, ELSEWHERE, 300)?;
        let mut allowed = call_abreast(&web, DB, 200)?;
        let audited = call_abreast(&[&job, &job], ELSEWHERE, 150)?;
        let unregistered = call_abreast(&[&app], ELSEWHERE, 70)?;
        until_told(&[
            ("lab app unregistered no_rule", unregistered),
            ("shop job audit no_rule", audited),
            ("shop web allow address", allowed),
            ("shop web deny no_rule", refused),
        ])?;
        daemon.end(Signal::SIGKILL)?;
        // Nobody runs who could count.
        allowed += call_abreast(&web, DB, 100)?;
        *daemon = place.start(&[])?;
        let all = [
            ("lab app unregistered no_rule", unregistered),
            ("shop job audit no_rule", audited),
            ("shop web allow address", allowed),
            ("shop web deny no_rule", refused),
        ];
        until_told(&all)?;
        let told = scrape(listener())?;
        // The self-proof has refused itself meanwhile.
        wait("a proof", || {
            let told = scrape(listener())?;
            Ok(told.get("enforcer_proofs_total", &[("result", "proven")]) > Some(0.0))
        })?;
        until_told(&all)?;
        assert_eq!(told.get("enforcer_flows_lost_total", &[]), Some(0.0));
        Ok(())
    });
}

const PODS: &str = "
registry: {files: [registry/]}
pods: {node: node-1, cgroupRoots: [$CGROUP/kubepods]}
dns: {servers: [192.0.2.53], timeout: 500ms}
metrics: {listen: '127.0.0.1:9967'}
";

fn pod(number: u32, controller: &str, hash: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: p{number}\n  namespace: shop\n  uid: {}\n\
         \u{20} labels: {{pod-template-hash: '{hash}'}}\n  ownerReferences:\n\
         \u{20} - {{apiVersion: apps/v1, kind: {controller}, name: {}, uid: u, controller: true}}\n\
         spec: {{nodeName: node-1}}\n",
        uid(number),
        if controller == "ReplicaSet" {
            format!("web-{hash}")
        } else {
            "db".to_owned()
        },
    )
}

fn uid(number: u32) -> String {
    format!("5d16b9a1-6e7d-4a4c-9d0b-{number:012}")
}

fn cgroup(number: u32) -> String {
    format!("kubepods/pod{}", uid(number))
}

#[test]
fn pods_are_counted_for_their_owner_and_stay_counted_when_they_are_gone() {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, PODS)?;
        place.cgroup.child("kubepods")?;
        place.write("registry.yaml", REGISTRY)?;
        let replicas = [pod(1, "ReplicaSet", "5d8"), pod(2, "ReplicaSet", "77c")].concat();
        let all = format!(
            "{replicas}{}{}",
            pod(3, "ReplicaSet", "77c"),
            pod(4, "StatefulSet", "")
        );
        place.write("pods.yaml", &all)?;
        let mut folders = Vec::new();
        for number in 1..=4 {
            folders.push(place.cgroup.child(cgroup(number))?);
        }
        let mut daemon = place.start(&[])?;
        let pods: Vec<_> = folders.iter().map(AsRef::as_ref).collect();
        let web = call_abreast(&pods[..3], ELSEWHERE, 20)?;
        let db = call_abreast(&pods[3..], ELSEWHERE, 5)?;
        let expected = [("shop db deny no_rule", db), ("shop web deny no_rule", web)];
        until_told(&expected)?;

        place.remove_cgroup(&cgroup(1))?;
        place.write("pods.yaml", &all.replace(&pod(1, "ReplicaSet", "5d8"), ""))?;
        let state = place.state().join("verdicts.json");
        wait("what was counted in the file", || {
            Ok(std::fs::read_to_string(&state).is_ok_and(|text| text.contains("\"past\":[[")))
        })?;
        until_told(&expected)?;

        // Also where that happens while nobody looks.
        daemon.end(Signal::SIGKILL)?;
        place.remove_cgroup(&cgroup(2))?;
        place.write("pods.yaml", &pod(3, "ReplicaSet", "77c"))?;
        place.remove_cgroup(&cgroup(4))?;
        daemon = place.start(&[])?;
        until_told(&expected)?;
        let web = web + call_abreast(&pods[2..3], ELSEWHERE, 7)?;
        let expected = [("shop db deny no_rule", db), ("shop web deny no_rule", web)];
        until_told(&expected)?;

        // Another start has nothing left to take.
        daemon.end(Signal::SIGTERM)?;
        drop(place.start(&[])?);
        let _daemon = place.start(&[])?;
        until_told(&expected)
    })
    .unwrap();
}

/// As many workloads as are told apart, in one namespace.
const APART: usize = 1000;

#[test]
fn workloads_beyond_the_number_that_is_told_apart_are_told_together() {
    let mut workloads = String::new();
    for number in 0..APART + 3 {
        writeln!(
            workloads,
            "- {{namespace: n, name: w{number:04}, cgroup: $CGROUP/w{number:04}}}"
        )
        .unwrap();
    }
    let config = format!(
        "\nregistry: {{files: [registry/]}}\nroots: [$CGROUP]\nworkloads:\n{workloads}\
         dns: {{servers: [192.0.2.53], timeout: 500ms}}\nmetrics: {{listen: '127.0.0.1:9967'}}\n"
    );
    check(&config, |place, _| {
        let mut called = 0;
        for number in [0, APART - 1, APART, APART + 2] {
            let folder = place.cgroup.child(format!("w{number:04}"))?;
            called += call_abreast(&[&folder], ELSEWHERE, 3)?;
        }
        // Processes of no workload have one number.
        let nobody = place.cgroup.child("nobody")?;
        called += call_abreast(&[&nobody], ELSEWHERE, 4)?;
        until_told(&[
            (" (other) deny no_rule", 6),
            (" (unknown) deny unknown_workload", 4),
            ("n w0000 deny no_rule", 3),
            ("n w0999 deny no_rule", 3),
        ])
        .with_context(|| format!("of {called} calls"))
    });
}

#[test]
fn scrapers_every_10_ms_share_a_text_and_cost_no_verdict() {
    check(CONFIG, |place, _| {
        let web = place.cgroup.child("web")?;
        let is_over = AtomicBool::new(false);
        let start = Instant::now();
        let (texts, asked) = thread::scope(|scope| {
            let scrapers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        let (mut texts, mut asked) = (BTreeSet::new(), 0);
                        while !is_over.load(Ordering::Relaxed) {
                            let (_, text) = get(listener(), "/metrics")?;
                            Exposition::parse(&text)?;
                            texts.insert(text);
                            asked += 1;
                            thread::park_timeout(Duration::from_millis(10));
                        }
                        anyhow::Ok((texts, asked))
                    })
                })
                .collect();
            let called = call_abreast(&[&web, &web], ELSEWHERE, 2000);
            let told = called.and_then(|called| until_told(&[("shop web deny no_rule", called)]));
            is_over.store(true, Ordering::Relaxed);
            let mut all = (BTreeSet::new(), 0);
            for scraper in scrapers {
                let (texts, asked) = scraper.join().expect("the thread does not panic")?;
                all.0.extend(texts);
                all.1 += asked;
            }
            told.map(|()| all)
        })?;
        let periods = start.elapsed().as_millis() / 500 + 2;
        println!(
            "{asked} scrapes had {} texts in {:?}",
            texts.len(),
            start.elapsed()
        );
        assert!(
            texts.len() as u128 <= periods,
            "{} texts in {periods} periods",
            texts.len()
        );
        assert!(
            asked > 2 * texts.len(),
            "only {asked} scrapes for {} texts",
            texts.len()
        );
        Ok(())
    });
}

#[test]
fn listener_answers_others_while_some_send_half_a_request_or_too_much() {
    check(CONFIG, |_, _| {
        let ok = |path: &str| -> Result<bool> { Ok(get(listener(), path)?.0.starts_with("HTTP/1.1 200 ")) };
        assert!(ok("/healthz")? && ok("/metrics")?);
        assert!(get(listener(), "/")?.0.starts_with("HTTP/1.1 404 "));
        let posted = request(
            listener(),
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        assert!(posted.0.starts_with("HTTP/1.1 405 "), "{}", posted.0);
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(1 << 20));
        let answered = request(listener(), &long);
        // The rest of what is sent may reset the connection before the answer is read.
        assert!(answered.is_err() || answered.is_ok_and(|(head, _)| head.starts_with("HTTP/1.1 431 ")));
        let slow: Vec<_> = (0..100)
            .map(|_| {
                let mut stream = TcpStream::connect(listener())?;
                // Those beyond what one address may have are closed already.
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:").ok();
                anyhow::Ok(stream)
            })
            .collect::<Result<_>>()?;
        // Another scraper has another address.
        let start = Instant::now();
        let mut other = socket_from("127.0.0.2:0".parse()?)?;
        other.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        std::io::Read::read_to_string(&mut other, &mut text)?;
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "it took {:?}",
            start.elapsed()
        );
        // Who sends half a request is not waited for.
        wait("an answer for the same address", || {
            Ok(ok("/healthz").unwrap_or(false))
        })?;
        drop(slow);
        Ok(())
    });
}

/// A connection to the listener from an address of this machine.
fn socket_from(from: SocketAddr) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(from)?;
        socket.connect(listener()).await
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

#[test]
fn enforcement_begins_where_the_listener_cannot_and_the_listener_comes_later() {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.write("registry.yaml", REGISTRY)?;
        let taken = TcpListener::bind(listener())?;
        let mut daemon = place.start(&[])?;
        daemon.line(&[
            "metrics are not served at 127.0.0.1:9967",
            "enforcement is not affected",
        ])?;
        ensure!(!place.reaches("web", ELSEWHERE)? && place.reaches("web", DB)?);
        drop(taken);
        daemon.line(&["metrics are served at http://127.0.0.1:9967/metrics"])?;
        until_told(&[("shop web allow address", 1), ("shop web deny no_rule", 1)])?;
        drop(daemon);
        place.configure(&CONFIG.replace("127.0.0.1:9967", "localhost"))?;
        let refusal = place.refusal(&[])?;
        ensure!(
            refusal.contains("metrics.listen: \"localhost\" is no address with a port"),
            "{refusal}"
        );
        place.configure(&CONFIG.replace("metrics:", "#metrics:"))?;
        let _daemon = place.start(&[])?;
        ensure!(
            TcpStream::connect(listener()).is_err(),
            "somebody listens unasked"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn documented_is_what_the_code_tells() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = enforcer::metrics::document();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, page, "write it anew with BLESS=1");
}

#[test]
fn everything_that_is_promised_is_told_and_no_destination_is() {
    check(CONFIG, |place, _| {
        place.resolve("192.0.2.10 db.example.com\n")?;
        let named = REGISTRY.replace("  addresses: [192.0.2.10]\n", "  resolution: DNS\n");
        place.write(
            "registry.yaml",
            &format!("{named}---\nkind: ServiceEntry\nmetadata: {{name: bad}}\n"),
        )?;
        place.until("web", DB, true)?;
        ensure!(!place.reaches("web", ELSEWHERE)?);
        place.call("web", Transport::Tcp, "127.0.0.1:80")?;
        place.until_status("a proof", |status| status.proven)?;
        let mut told = Exposition::default();
        wait("the change among the metrics", || {
            told = scrape(listener())?;
            let loopback = [
                ("namespace", ""),
                ("workload", "(any)"),
                ("verdict", "allow"),
                ("reason", "loopback"),
            ];
            Ok(
                told.get("enforcer_resolutions_total", &[("outcome", "answered")]) > Some(0.0)
                    && told.get("enforcer_verdicts_total", &loopback) > Some(0.0)
                    && told.get("enforcer_proven", &[]) == Some(1.0),
            )
        })?;
        let is = |name: &str, labels: &[(&str, &str)], value: f64| {
            assert_eq!(told.get(name, labels), Some(value), "{name} {labels:?}");
        };
        is("enforcer_in_force", &[], 1.0);
        is("enforcer_lapses_total", &[], 0.0);
        is("enforcer_registry_rejected_objects", &[], 1.0);
        is("enforcer_registry_objects", &[("kind", "ServiceEntry")], 1.0);
        is("enforcer_registry_objects", &[("kind", "Sidecar")], 1.0);
        is("enforcer_resolving_hosts", &[], 1.0);
        is("enforcer_failing_hosts", &[], 0.0);
        is("enforcer_source_up", &[("source", "files")], 1.0);
        is("enforcer_source_objects", &[("source", "files")], 2.0);
        is("enforcer_map_capacity", &[("map", "workloads")], 16_384.0);
        is("enforcer_map_entries", &[("map", "workloads")], 3.0);
        is("enforcer_backlog_changes", &[], 0.0);
        is("enforcer_configuration_current", &[], 1.0);
        assert!(told.get("enforcer_change_in_force_seconds_count", &[]) > Some(0.0));
        assert!(told.get("enforcer_proof_age_seconds", &[]) < Some(30.0));
        let build: Vec<_> = told.all("enforcer_build_info").collect();
        assert_eq!(build.len(), 1);
        assert_eq!(build[0].0["version"], env!("CARGO_PKG_VERSION"));
        let (_, text) = get(listener(), "/metrics")?;
        for destination in ["192.0.2.", "db.example.com", ":5432"] {
            assert!(!text.contains(destination), "{destination} is told:\n{text}");
        }
        // Everything else is in the page, and everything of the page is here.
        let page = enforcer::metrics::document();
        for family in told.types.keys() {
            assert!(page.contains(&format!("`{family}")), "{family} is not documented");
        }
        let documented = page.lines().filter_map(|line| line.strip_prefix("| `enforcer_"));
        let absent: Vec<_> = documented
            .filter_map(|line| line.split('`').next())
            .map(|name| {
                format!(
                    "enforcer_{}",
                    name.trim_end_matches("_total").trim_end_matches("_info")
                )
            })
            .filter(|family| !told.types.contains_key(family))
            .collect();
        // Where nothing was left out, and while the kernel measures nothing.
        let may_be: BTreeSet<_> = [
            "enforcer_events_suppressed",
            "enforcer_hook_seconds",
            "enforcer_hook_runs",
        ]
        .into();
        assert!(
            absent.iter().all(|family| may_be.contains(family.as_str())),
            "{absent:?} are not told"
        );
        // The control socket says the same, for whoever is root.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let asked = runtime.block_on(enforcer::control::ask_metrics(&place.state()))?;
        assert_eq!(Exposition::parse(&asked)?.types, told.types);
        // A file that is not in force.
        place.configure(&format!("{CONFIG}\nudp: allow\n"))?;
        wait("the other configuration", || {
            Ok(scrape(listener())?.get("enforcer_configuration_current", &[]) == Some(0.0))
        })
    });
}
