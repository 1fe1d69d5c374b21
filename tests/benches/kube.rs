//! How fast a real API server's objects come into force, and what 10,000 of them cost. Run as root, with etcd and
//! kube-apiserver at hand, by `cargo bench -p tests --bench kube`; figures are printed beside their goals.
//! `ENFORCER_BINARY` names another enforcer than the one built here, such as the image's.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    daemon::{Daemon, Place},
    kube::{Api, Server, with_server},
};

const ENTRIES: u32 = 10_000;
const NAMESPACES: u32 = 100;
const SERVICES: u32 = 500;
const ROUNDS: u32 = 300;

const CONFIG: &str = "
registry: {kubernetes: {kubeconfig: $KUBECONFIG, node: n1}}
workloads: [{namespace: ns-0, name: web, cgroup: $CGROUP/web}]
dns: {servers: [192.0.2.53], timeout: 500ms}
";

fn entry(number: u32) -> Value {
    let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
    let name = format!("service-{number}");
    json!({
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ServiceEntry",
        "metadata": {
            "namespace": format!("ns-{}", number % NAMESPACES),
            "name": name,
            "labels": { "app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "argocd", "team": "payments" },
            "annotations": { "argocd.argoproj.io/tracking-id": format!("egress:networking.istio.io/ServiceEntry:{name}") },
        },
        "spec": {
            "hosts": [format!("{name}.example.com")],
            "addresses": [address.to_string()],
            "location": "MESH_EXTERNAL",
            "resolution": "NONE",
            "ports": [{ "number": 443, "name": "tls", "protocol": "TLS" }],
        },
    })
}

fn service(number: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": format!("ns-{}", number % NAMESPACES), "name": format!("s-{number}"),
                      "labels": { "app.kubernetes.io/name": format!("s-{number}") } },
        "spec": { "selector": { "app": format!("s-{number}") }, "ports": [{ "name": "http", "port": 80 }] },
    })
}

fn fill(admin: &Api) -> Result<()> {
    let namespaces = (0..NAMESPACES).map(|number| {
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("ns-{number}") } })
    });
    admin.create_all(namespaces.collect())?;
    let begin = Instant::now();
    admin.create_all((0..ENTRIES).map(entry).collect())?;
    println!("{ENTRIES} ServiceEntries created in {:.1?}", begin.elapsed());
    admin.create_all((0..SERVICES).map(service).collect())
}

/// What lists weigh.
fn weigh(admin: &Api) -> Result<()> {
    let entries = "/apis/networking.istio.io/v1beta1/serviceentries";
    for (what, path, accept, count) in [
        ("ServiceEntries", entries, "application/json", ENTRIES),
        (
            "ServiceEntries, pages of 500, the first",
            "",
            "application/json",
            500,
        ),
        ("Services", "/api/v1/services", "application/json", SERVICES),
        (
            "Services",
            "/api/v1/services",
            "application/vnd.kubernetes.protobuf",
            SERVICES,
        ),
    ] {
        let page = format!("{entries}?limit=500");
        let path = if path.is_empty() { &page } else { path };
        let begin = Instant::now();
        let bytes = admin.bytes(path, accept)?;
        println!(
            "list of {what} as {accept}: {bytes} bytes, {} an object, {:.1?}",
            bytes / count as usize,
            begin.elapsed()
        );
    }
    Ok(())
}

/// How long a whole list takes: from etcd in pages of several sizes, and from the server's cache.
fn lists(admin: &Api) -> Result<()> {
    let path = "/apis/networking.istio.io/v1beta1/serviceentries";
    for query in [
        "limit=500",
        "limit=2000",
        "limit=10000",
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        let mut runs = Vec::new();
        let (mut answers, mut largest) = (0, 0);
        for _ in 0..3 {
            let (mut next, mut took) = (String::new(), Duration::ZERO);
            (answers, largest) = (0, 0);
            loop {
                let begin = Instant::now();
                let text = admin.get(&format!("{path}?{query}{next}"))?;
                took += begin.elapsed();
                (answers, largest) = (answers + 1, largest.max(text.len()));
                let list: Value = serde_json::from_str(&text)?;
                match list["metadata"]["continue"].as_str() {
                    Some(token) if !token.is_empty() => next = format!("&continue={token}"),
                    _ => break,
                }
            }
            runs.push(took);
        }
        runs.sort();
        let median = runs[1];
        println!("whole list by {query}: {answers} answers, {median:.2?}, the largest has {largest} bytes");
    }
    Ok(())
}

/// A line of the daemon's `/proc/<pid>/status`, in MB.
fn memory(daemon: &Daemon, line: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let text = status
        .lines()
        .find_map(|it| it.strip_prefix(line))
        .context("no such line")?;
    let kilobytes: f64 = text.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

fn say(what: &str, daemon: &Daemon) -> Result<()> {
    let (now, most) = (memory(daemon, "VmRSS:")?, memory(daemon, "VmHWM:")?);
    let (own, files) = (memory(daemon, "RssAnon:")?, memory(daemon, "RssFile:")?);
    println!(
        "resident memory {what}: {now:.1} MB (own {own:.1}, of the program's file {files:.1}), at most {most:.1} MB (goal 60)"
    );
    Ok(())
}

fn measure(server: &mut Server) -> Result<()> {
    let admin = server.admin()?;
    fill(&admin)?;
    weigh(&admin)?;
    lists(&admin)?;
    let kubeconfig = server.kubeconfig("bench", &json!({ "token": "admin" }))?;
    let config = CONFIG.replace("$KUBECONFIG", &kubeconfig.display().to_string());
    let mut place = Place::with_bpffs(env!("CARGO_BIN_EXE_enforcer-test"), &config)?;
    if let Some(enforcer) = std::env::var_os("ENFORCER_BINARY") {
        place.enforcer = enforcer.into();
    }
    println!("the enforcer is {}", place.enforcer.display());
    place.cgroup.child("web")?;
    let begin = Instant::now();
    let mut daemon = place.start(&[])?;
    println!("{}", daemon.announced.trim());
    println!("first start to in force: {:.1?}", begin.elapsed());
    let mut starts = Vec::new();
    for _ in 0..5 {
        daemon.end(Signal::SIGKILL)?;
        let begin = Instant::now();
        daemon = place.start(&[])?;
        starts.push(begin.elapsed());
    }
    starts.sort();
    println!(
        "restart to in force: median {:.1?}, longest {:.1?} (goal 2 s)",
        starts[2], starts[4]
    );
    say("after a start", &daemon)?;
    daemon.end(Signal::SIGKILL)?;
    daemon = place.start(&["--log-level", "warn,enforcer=debug"])?;
    for line in daemon.lines() {
        println!("| {line}");
    }
    let mut waits = Vec::new();
    for round in 0..ROUNDS {
        let new = entry(ENTRIES + round);
        let to = format!("{}:443", new["spec"]["addresses"][0].as_str().unwrap_or_default());
        anyhow::ensure!(!place.reaches("web", &to)?, "{to} is not registered yet");
        admin.apply_value(&new)?;
        waits.push(place.until("web", &to, true)?);
    }
    waits.sort();
    let at = |percent: usize| waits[waits.len() * percent / 100];
    println!(
        "acknowledged to first allowed connect, {ROUNDS} times: p50 {:.1?}, p99 {:.1?}, longest {:.1?} (goal p99 {:?})",
        at(50),
        at(99),
        waits[waits.len() - 1],
        Duration::from_millis(100)
    );
    say("after that", &daemon)?;
    server.stop()?;
    server.start()?;
    let new = entry(ENTRIES + ROUNDS);
    admin.apply_value(&new)?;
    let to = format!("{}:443", new["spec"]["addresses"][0].as_str().unwrap_or_default());
    let took = place.until("web", &to, true)?;
    println!("after a restart of the API server, everything listed again: {took:.1?}");
    say("after that", &daemon)
}

fn main() -> Result<()> {
    with_server(measure)
}
