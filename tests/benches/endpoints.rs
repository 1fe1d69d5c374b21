//! How fast the endpoints of a mesh come into force for a pod with a proxy: 20,000 of them in 2,000 Services, which
//! change 50 times a second on a real API server. Run as root, with etcd and kube-apiserver at hand, by
//! `cargo bench -p tests --bench endpoints`; figures are printed beside their goals. `ENFORCER_BINARY` names another
//! enforcer than the one built here.

use std::{
    fs,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::{
    daemon::{Daemon, Place},
    kube::{Api, Server, with_server},
};

const SERVICES: u32 = 2_000;
const ENDPOINTS: u32 = 10;
const NAMESPACES: u32 = 100;
/// Between two changes, of which one in ten is watched.
const PAUSE: Duration = Duration::from_millis(20);
const WATCHED: u32 = 300;
const UID: &str = "5d16b9a1-6e7d-4a4c-9d0b-000000000001";

const CONFIG: &str = "
registry: {kubernetes: {kubeconfig: $KUBECONFIG, node: n1}}
pods: {node: n1, cgroupRoots: [$CGROUP/kubepods]}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

fn namespace(index: u32) -> String {
    format!("ns-{}", index % NAMESPACES)
}

fn service(index: u32) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "namespace": namespace(index), "name": format!("s-{index}") },
        "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }] },
    })
}

/// The endpoints of a Service, of which the last one is new with each turn.
fn slice(index: u32, turn: u32) -> Value {
    let first = 0x0a80_0000 + index * ENDPOINTS;
    let addresses = (first + 1..first + ENDPOINTS).chain([newest(index, turn)]);
    let endpoints = addresses.map(|bits| json!({ "addresses": [Ipv4Addr::from_bits(bits).to_string()] }));
    json!({
        "apiVersion": "discovery.k8s.io/v1beta1",
        "kind": "EndpointSlice",
        "metadata": { "namespace": namespace(index), "name": format!("s-{index}-x"),
                      "labels": { "kubernetes.io/service-name": format!("s-{index}") } },
        "addressType": "IPv4",
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    })
}

fn newest(index: u32, turn: u32) -> u32 {
    0x0b00_0000 + turn * SERVICES + index
}

fn fill(admin: &Api) -> Result<()> {
    let namespaces = (0..NAMESPACES).map(
        |index| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace(index) } }),
    );
    admin.create_all(namespaces.collect())?;
    admin.create_all((0..SERVICES).map(service).collect())?;
    admin.create_all((0..SERVICES).map(|index| slice(index, 0)).collect())?;
    admin.apply_value(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": "ns-0", "name": "web",
                      // As the kubelet names the cgroup.
                      "annotations": { "kubernetes.io/config.mirror": UID } },
        "spec": { "nodeName": "n1", "containers": [
            { "name": "app", "image": "app:1" }, { "name": "istio-proxy", "image": "proxy:1" },
        ] },
    }))
}

/// Resident memory in MB, and processor time in seconds (proc(5): clock ticks, 100 a second).
fn used(daemon: &Daemon) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kilobytes: f64 = line.context("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.pid()))?;
    let fields = stat.rsplit(") ").next().context("no fields")?.split(' ');
    let ticks: Vec<f64> = fields
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok((kilobytes / 1024.0, ticks.iter().sum::<f64>() / 100.0))
}

fn measure(server: &mut Server) -> Result<()> {
    let (admin, other) = (server.admin()?, server.admin()?);
    let begin = Instant::now();
    fill(&admin)?;
    println!(
        "{SERVICES} Services and their slices created in {:.1?}",
        begin.elapsed()
    );
    let kubeconfig = server.kubeconfig("bench", &json!({ "token": "admin" }))?;
    let config = CONFIG.replace("$KUBECONFIG", &kubeconfig.display().to_string());
    let mut place = Place::with_bpffs(env!("CARGO_BIN_EXE_enforcer-test"), &config)?;
    if let Some(enforcer) = std::env::var_os("ENFORCER_BINARY") {
        place.enforcer = enforcer.into();
    }
    println!("the enforcer is {}", place.enforcer.display());
    let pod = format!("kubepods/pod{UID}");
    place.cgroup.child("kubepods")?;
    place.cgroup.child(&pod)?;
    let begin = Instant::now();
    let daemon = place.start(&[])?;
    let first = |turn| format!("{}:8080", Ipv4Addr::from_bits(newest(0, turn)));
    place.until(&pod, &first(0), true)?;
    println!("start to the first endpoint: {:.1?}", begin.elapsed());
    let (before, ticks) = used(&daemon)?;
    let (turns, is_over) = (AtomicU32::new(1), AtomicBool::new(false));
    let begin = Instant::now();
    let mut waits = thread::scope(|scope| -> Result<Vec<Duration>> {
        // Nine in ten, of Services that are not watched.
        let changes = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                if turn % 10 != 0 {
                    other.apply_value(&slice(1 + turn * 37 % (SERVICES - 1), turn))?;
                }
                let due = begin + PAUSE * turn;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        let mut watch = || -> Result<Vec<Duration>> {
            let mut waits = Vec::new();
            for turn in 1..=WATCHED {
                let to = first(turn);
                anyhow::ensure!(!place.reaches(&pod, &to)?, "{to} is no endpoint yet");
                admin.apply_value(&slice(0, turn))?;
                waits.push(place.until(&pod, &to, true)?);
                let due = begin + PAUSE * 10 * turn;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(waits)
        };
        let waits = watch();
        is_over.store(true, Ordering::Relaxed);
        changes.join().expect("it does not panic")?;
        waits
    })?;
    let seconds = begin.elapsed().as_secs_f64();
    let (after, spent) = used(&daemon)?;
    waits.sort();
    let at = |percent: usize| waits[waits.len() * percent / 100];
    let rate = f64::from(turns.load(Ordering::Relaxed)) / seconds;
    println!(
        "{rate:.0} changes a second for {seconds:.0} s; acknowledged to first allowed connect, {WATCHED} times: p50 \
         {:.1?}, p99 {:.1?}, longest {:.1?} (goal 100 ms)",
        at(50),
        at(99),
        waits[waits.len() - 1],
    );
    println!(
        "resident memory {before:.1} MB before, {after:.1} MB after; {:.0} % of a processor",
        100.0 * (spent - ticks) / seconds
    );
    Ok(())
}

fn main() -> Result<()> {
    with_server(measure)
}
