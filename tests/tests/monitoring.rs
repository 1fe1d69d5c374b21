//! Alerts and dashboard: by series that are made up, and by a real Prometheus that scrapes a daemon in each condition.
//!
//! The live tests give Prometheus the alerts with seconds for minutes (`tests::prometheus::hastened`). What they do not
//! bring about: a node without a pod of the DaemonSet, which kube-state-metrics tells, changes that take seconds, a
//! self-proof that hangs, and the end of the alerts of an API server that has come back.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::{Event, Share, maps::EVENTS_BYTES};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{bpf, in_own_network, need_root},
    kube::with_server,
    prometheus::{Prometheus, alerts, find, hastened, panels},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/monitoring");
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/monitoring/rules.yaml");

const METRICS: &str = "127.0.0.1:9967";

const CONFIG: &str = "
registry: {files: [registry/]}
metrics: {listen: '127.0.0.1:9967'}
workloads:
- {namespace: shop, name: web, cgroup: $CGROUP/root/web}
roots: [$CGROUP/root]
capacities: {exact: 12}
dns: {servers: [192.0.2.53], minTtl: 1s, timeout: 100ms}
";

/// As many workloads as together have shares of more events than are kept for the daemon.
const CROWD: u64 = EVENTS_BYTES as u64 / size_of::<Event>() as u64 / Share::LIMIT + 1;

/// [`CONFIG`] with these workloads as well, and with room for all.
fn crowded() -> String {
    let workloads = (0..CROWD)
        .map(|number| format!("- {{namespace: shop, name: w{number}, cgroup: $CGROUP/root/w{number}}}\n"));
    CONFIG
        .replace("capacities: {exact: 12}\n", "")
        .replace("roots:", &(workloads.collect::<String>() + "roots:"))
}

/// An entry with these fields of its spec.
fn entry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{name}.example.com]\n  ports: [{{number: 80, name: tcp, protocol: TCP}}]\n  {spec}\n"
    )
}

/// One with as many addresses.
fn addresses(count: u8) -> String {
    let addresses: Vec<_> = (1..=count).map(|last| format!("198.51.100.{last}")).collect();
    entry(
        "many",
        &format!("resolution: NONE\n  addresses: [{}]", addresses.join(", ")),
    )
}

fn promtool(arguments: &[&str]) {
    let Some(promtool) = find("promtool") else { return };
    let output = Command::new(promtool).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn prometheus_takes_the_alerts() {
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", RULES]);
}

#[test]
fn each_alert_fires_by_series_that_are_made_up_and_none_where_all_is_well() {
    let tests = Path::new(FOLDER).join("rules.yaml");
    promtool(&["test", "rules", &tests.display().to_string()]);
    // None is left out.
    let text = fs::read_to_string(&tests).unwrap();
    for alert in alerts().unwrap() {
        let fires = format!("name: {alert} fires\n");
        let quiet = format!("{{alertname: {alert}, eval_time: 2h}}");
        assert!(text.contains(&fires) && text.contains(&quiet), "{alert}");
    }
}

#[test]
fn each_alert_says_how_severe_it_is_and_where_to_read_what_to_do() {
    let document: Value = serde_yaml::from_str(&fs::read_to_string(RULES).unwrap()).unwrap();
    let rules = document.pointer("/groups/0/rules").and_then(Value::as_array);
    for rule in rules.unwrap() {
        let name = rule["alert"].as_str().unwrap();
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}");
        let annotations = &rule["annotations"];
        let link = format!("docs/operate.md#{}", name.to_lowercase());
        assert_eq!(annotations["runbook_url"], link, "{name}");
        for key in ["summary", "description"] {
            assert!(annotations[key].is_string(), "{key} of {name}");
        }
    }
}

/// Runs `claim` with a daemon that a Prometheus scrapes, and with nothing that fires.
fn check(config: &str, claim: impl FnOnce(&mut Place, &mut Daemon, &Prometheus) -> Result<()> + Send) {
    need_root().unwrap();
    let Some(program) = find("prometheus") else { return };
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, config)?;
        place.cgroup.child("root/web")?;
        place.write(
            "db.yaml",
            &entry("db", "resolution: NONE\n  addresses: [192.0.2.10]"),
        )?;
        let mut daemon = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        let prometheus = Prometheus::start(&program, &hastened()?)?;
        prometheus.scrape(&[("n1", METRICS)])?;
        prometheus.until("enforcer_proven == 1")?;
        quiet(&prometheus)?;
        claim(&mut place, &mut daemon, &prometheus)
    })
    .unwrap();
}

/// Waits until no alert fires.
fn quiet(prometheus: &Prometheus) -> Result<()> {
    let mut last = BTreeSet::new();
    let waited = wait("silence of the alerts", || {
        last = prometheus.firing()?;
        Ok(last.is_empty())
    });
    waited.with_context(|| format!("{last:?} fire"))
}

#[test]
fn alerts_of_the_registry_fire_and_end() {
    check(CONFIG, |place, _, prometheus| {
        // More than there is room for, so that all of it is full.
        place.write("many.yaml", &addresses(40))?;
        prometheus.until_firing(&["EnforcerMapNearlyFull", "EnforcerMapTooSmall"])?;
        place.remove("many.yaml")?;
        quiet(prometheus)?;

        place.write("bad.yaml", &entry("bad", "resolution: SOMETIMES"))?;
        prometheus.until_firing(&["EnforcerObjectsRejected"])?;
        place.remove("bad.yaml")?;
        quiet(prometheus)?;

        // Nobody answers at the resolver's address.
        place.write("name.yaml", &entry("name", "resolution: DNS"))?;
        prometheus.until_firing(&["EnforcerResolverDown", "EnforcerHostsFailing"])?;
        place.remove("name.yaml")?;
        quiet(prometheus)?;

        place.configure(&CONFIG.replace("exact: 12", "exact: twelve"))?;
        prometheus.until_firing(&["EnforcerConfigurationNotCurrent"])?;
        place.configure(CONFIG)?;
        quiet(prometheus)
    });
}

#[test]
fn alerts_of_what_is_refused_fire_and_every_panel_has_data() {
    check(&crowded(), |place, daemon, prometheus| {
        let mut last = 0_u16;
        wait("alert of refusals", || {
            last = last.wrapping_add(1).max(1);
            let to = format!("203.0.113.7:{last}");
            ensure!(!place.reaches("root/web", &to)?, "{to} is refused");
            Ok(prometheus.firing()?.contains("EnforcerRefusalsRise"))
        })?;
        // What nobody reads is lost, and counted.
        daemon.hold()?;
        for number in 0..CROWD {
            for port in 1..=Share::LIMIT {
                let to = format!("203.0.113.8:{port}");
                ensure!(
                    !place.reaches(&format!("root/w{number}"), &to)?,
                    "{to} is refused"
                );
            }
        }
        daemon.go_on()?;
        prometheus.until_firing(&["EnforcerEventsLost"])?;

        place.write("name.yaml", &entry("name", "resolution: DNS"))?;
        for panel in panels()?.iter().filter(|panel| !panel.is_optional) {
            for query in &panel.queries {
                let shown = prometheus.until(query);
                shown.with_context(|| format!("the panel {:?} is empty", panel.title))?;
            }
        }
        Ok(())
    });
}

/// The pinned link of the program for connections over IPv4.
fn link(place: &Place) -> Result<PathBuf> {
    let folder = fs::metadata(place.cgroup.folder().join("root"))?;
    let id = folder.ino();
    Ok(place.bpffs().join(format!("enforcer/links/{id}/connect4")))
}

#[test]
fn alerts_of_enforcement_fire_and_outlive_the_daemon() {
    check(CONFIG, |place, daemon, prometheus| {
        bpf::detach_link(&link(place)?)?;
        prometheus.until_firing(&["EnforcerLapsed"])?;

        place.remove_cgroup("root")?;
        prometheus.until_firing(&["EnforcerNotProven", "EnforcerNotInForce"])?;
        place.cgroup.child("root/web")?;

        daemon.end(Signal::SIGKILL)?;
        prometheus.until_firing(&["EnforcerDown"])?;
        // Nobody is scraped at all.
        prometheus.scrape(&[])?;
        prometheus.until_firing(&["EnforcerAbsent"])
    });
}

#[test]
fn alerts_of_the_api_server_fire_while_it_is_away() {
    need_root().unwrap();
    let Some(program) = find("prometheus") else { return };
    with_server(|server| {
        let admin = json!({ "token": "admin" });
        let kubeconfig = server.kubeconfig("monitored", &admin)?;
        let kubernetes = format!(
            "{{kubernetes: {{kubeconfig: {}, node: n1}}}}",
            kubeconfig.display()
        );
        let place = Place::new(BINARY, &CONFIG.replace("{files: [registry/]}", &kubernetes))?;
        place.cgroup.child("root/web")?;
        let prometheus = Prometheus::start(&program, &hastened()?)?;
        prometheus.scrape(&[("n1", METRICS)])?;
        server.stop()?;
        let mut daemon = place.launch(&["--ephemeral"])?;
        prometheus.until_firing(&["EnforcerNotProven", "EnforcerSourceDown"])?;
        server.start()?;
        daemon.await_announcement()?;
        server.stop()?;
        prometheus.until_firing(&["EnforcerSourceDown", "EnforcerSourceOld"])?;
        server.start()?;
        Ok(())
    })
    .unwrap();
}
