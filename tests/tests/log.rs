//! The log in JSON is as docs/LOG.md has it: every event that can be brought about here is, and has the fields of its row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::Path,
    thread,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::Transport;
use serde_json::Value;
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const DOCS: &str = include_str!("../../docs/LOG.md");

/// Brought about elsewhere: by systemd, and by an API server.
const ELSEWHERE: [&str; 2] = ["unit_misplaced", "events_left_out"];

/// Of these the record itself is made.
const RECORD: [&str; 3] = ["timestamp", "level", "message"];

const CONFIG: &str = "
registry: {files: [registry/]}
pods: {node: node-1, cgroupRoots: [$CGROUP/kubepods]}
workloads:
- {namespace: shop, name: web, cgroup: $CGROUP/web}
- {namespace: shop, name: job, cgroup: $CGROUP/job, mode: audit}
- {namespace: lab, name: app, cgroup: $CGROUP/app}
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 1s, timeout: 500ms}
";

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  addresses: [192.0.2.10]
  resolution: NONE
  exportTo: ['.']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

/// Names that have no answer, and one that nothing can connect to; a workload that may reach everything; an entry that
/// allows nothing; and a pod that runs nowhere.
const OTHERS: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: names, namespace: shop}
spec:
  hosts: [late.example.com, senseless.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: any, namespace: lab}
spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: ['./*']}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nobodys, namespace: shop}
spec: {hosts: [nobody.example.com], exportTo: ['~'], resolution: NONE, ports: [{number: 1, name: tcp, protocol: TCP}]}
---
apiVersion: v1
kind: Pod
metadata: {name: astray, namespace: shop, uid: 11111111-2222-3333-4444-555555555555}
spec: {nodeName: node-1}
status: {phase: Running, podIP: 192.0.2.99, startTime: '2020-01-01T00:00:00Z', containerStatuses: [{state: {running: {}}}]}
";

/// One of the addresses of a host is none that anything can connect to.
const SENSELESS: &str = "192.0.2.13 senseless.example.com\n224.0.0.9 senseless.example.com\n";

const DB: &str = "192.0.2.10:5432";

/// The cells of a table of the documentation, row by row.
fn table(head: &str) -> Vec<Vec<String>> {
    let lines = DOCS.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let row = row.trim_matches('|');
        row.split(" | ")
            .map(|cell| cell.trim().trim_end_matches('|').trim().to_owned())
            .collect()
    })
    .collect()
}

/// What stands in backquotes.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The level and the fields of each event.
fn events() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut events = BTreeMap::new();
    for row in table("| event |") {
        let fields: BTreeSet<_> = row
            .get(3)
            .map(|cell| quoted(cell))
            .unwrap_or_default()
            .into_iter()
            .collect();
        for event in quoted(&row[0]) {
            events.insert(event, (row[1].clone(), fields.clone()));
        }
    }
    events
}

/// Brings about everything that can be.
fn bring_about(place: &mut Place, daemon: &mut Daemon) -> Result<()> {
    place.probe("web")?.hold(Transport::Tcp, DB.parse()?)?;
    for (workload, event) in [
        ("web", "flow_denied"),
        ("job", "flow_would_be_denied"),
        ("app", "flow_unregistered"),
    ] {
        place.call(workload, Transport::Tcp, "192.0.2.10:81")?;
        seen(daemon, event)?;
    }
    place.write("entry.yaml", &ENTRY.replace("exportTo: ['.']", "exportTo: [lab]"))?;
    seen(daemon, "connection_revoked")?;
    place.write("wrong.yaml", &ENTRY.replace("5432", "0"))?;
    seen(daemon, "document_rejected")?;
    seen(daemon, "resolution_failed")?;
    place.resolve(&format!("192.0.2.11 late.example.com\n{SENSELESS}"))?;
    seen(daemon, "resolution_recovered")?;
    seen(daemon, "addresses_left_out")?;
    seen(daemon, "registry_warning")?;
    place.remove_cgroup("job")?;
    seen(daemon, "workload_gone")?;
    let map = pinned(&place.bpffs().join("enforcer"))?;
    fs::remove_file(&map)?;
    seen(daemon, "alarm")?;
    seen(daemon, "pod_unbound")
}

/// One of the maps that are pinned.
fn pinned(folder: &Path) -> Result<std::path::PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('v') {
            let entry = fs::read_dir(&path)?.next().context("it holds maps")?;
            return Ok(entry?.path());
        }
    }
    bail!("nothing is pinned in {}", folder.display())
}

/// Waits for an event, unless it was there before.
fn seen(daemon: &mut Daemon, event: &str) -> Result<()> {
    let word = format!("\"event\":\"{event}\"");
    daemon.lines();
    if !daemon.seen.iter().any(|line| line.contains(&word)) {
        daemon.line(&[&word])?;
    }
    Ok(())
}

#[test]
fn every_event_has_the_level_and_the_fields_that_are_documented() {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.resolve(SENSELESS)?;
        place.write("entry.yaml", ENTRY)?;
        place.write("others.yaml", OTHERS)?;
        for name in ["web", "job", "app", "kubepods"] {
            place.cgroup.child(name)?;
        }
        let listener = TcpListener::bind(DB)?;
        thread::spawn(move || listener.incoming().collect::<Vec<_>>());
        let mut daemon = place.start(&["--log-format", "json"])?;
        bring_about(&mut place, &mut daemon)?;
        wait("the last lines", || Ok(daemon.lines().is_empty()))?;
        judge(&daemon.seen)
    })
    .unwrap();
}

fn judge(lines: &[String]) -> Result<()> {
    let events = events();
    let described: BTreeSet<_> = table("| field |")
        .iter()
        .flat_map(|row| quoted(&row[0]))
        .collect();
    let mut brought = BTreeMap::<String, BTreeSet<String>>::new();
    for line in lines {
        let record: BTreeMap<String, Value> =
            serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        for field in RECORD {
            assert!(record[field].is_string(), "{field} in {line}");
        }
        let Some(event) = record.get("event") else {
            continue;
        };
        let event = event.as_str().context("a word")?;
        let (level, fields) = events
            .get(event)
            .with_context(|| format!("docs/LOG.md has no {event}"))?;
        assert_eq!(record["level"], level.as_str(), "{line}");
        let there = record
            .keys()
            .filter(|key| !RECORD.contains(&key.as_str()) && *key != "event");
        let there: BTreeSet<_> = there.cloned().collect();
        assert!(
            there.is_subset(fields),
            "{event} has fields that its row has not: {line}"
        );
        assert!(there.is_subset(&described), "{line}");
        // Those of flows have the same fields, some of which an allowed flow lacks.
        let group = if event.starts_with("flow_") { "flow" } else { event };
        for name in [event, group] {
            brought.entry(name.to_owned()).or_default().extend(there.clone());
        }
    }
    for (event, (_, fields)) in &events {
        if ELSEWHERE.contains(&event.as_str()) {
            continue;
        }
        let there = brought
            .get(event)
            .with_context(|| format!("{event} did not come about"))?;
        let there = if event.starts_with("flow_") {
            &brought["flow"]
        } else {
            there
        };
        // Not everybody is a pod or a container.
        let mut missing = fields
            .difference(there)
            .filter(|field| !matches!(field.as_str(), "pod" | "container"));
        assert_eq!(
            missing.next(),
            None,
            "{event} has none of {fields:?}, but {there:?}"
        );
    }
    Ok(())
}

/// A place of the sources that writes an event: its level and its fields.
fn written(text: &str, at: usize) -> Option<(String, BTreeSet<String>)> {
    let level = &text[text[..at].rfind("tracing::")? + "tracing::".len()..];
    let level = level.split('!').next()?.to_uppercase();
    // Fields come before the message, which is the first text.
    let fields = text[at..].split_once(',')?.1.split('"').next()?;
    let names = fields.split(',').filter_map(|field| {
        let name = field.split('=').next()?.trim().trim_start_matches(['%', '?']);
        (!name.is_empty()).then(|| name.to_owned())
    });
    Some((level, names.collect()))
}

#[test]
fn documentation_has_the_level_and_the_fields_of_every_event_that_the_sources_write() {
    let documented = events();
    let mut found = BTreeSet::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../enforcer/src")];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            if path.extension() != Some("rs".as_ref()) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            // What tests write is no event.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (at, start) in text.match_indices("event = \"") {
                let event = text[at + start.len()..].split('"').next().unwrap();
                let written = written(text, at).unwrap();
                assert_eq!(
                    documented.get(event),
                    Some(&written),
                    "{event} in {}",
                    path.display()
                );
                found.insert(event.to_owned());
            }
        }
    }
    // Those of flows are chosen by their verdict, and not written as a word.
    let chosen = ["flow_denied", "flow_would_be_denied", "flow_unregistered"];
    let missing = documented
        .keys()
        .filter(|event| !found.contains(*event) && !chosen.contains(&event.as_str()));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
}
