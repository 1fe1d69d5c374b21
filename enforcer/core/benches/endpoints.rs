//! How long the registry takes to follow endpoints, and how much memory: 20,000 endpoints of 2,000 Services, for pods with
//! a proxy in 100 namespaces. Run with `cargo bench -p enforcer-core --bench endpoints`; it fails if a goal is missed.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_core::{
    istio::{EndpointSlice, ExportTo, Meta, Object, Service, ServiceKind, ServicePort, SlicePort},
    model::{CgroupId, Labels, Namespace, Protocol, Transport, Workload},
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings::Settings,
};

const SERVICES: u32 = 2_000;
const ENDPOINTS: u32 = 10;
const NAMESPACES: u32 = 100;
/// A second's worth, many times over.
const CHANGES: u32 = 500;

fn meta(index: u32, name: String) -> Meta {
    Meta {
        namespace: Namespace::new(&format!("ns-{}", index % NAMESPACES)),
        name,
        labels: Labels::new(),
        annotations: Labels::new(),
        created: None,
    }
}

fn service(index: u32, export_to: &[ExportTo]) -> Update {
    let port = ServicePort {
        number: 80,
        name: "http".to_owned(),
        protocol: Protocol::Http,
        target: Some(8080),
    };
    Update::Apply(Object::Service(Arc::new(Service {
        meta: meta(index, format!("service-{index}")),
        kind: ServiceKind::ClusterIp(vec![address(0x0a60_0000 + index)]),
        ports: vec![port],
        export_to: export_to.to_vec(),
        selector: Labels::new(),
    })))
}

fn address(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

/// All endpoints of a Service, of which one is new.
fn slice(index: u32, turn: u32) -> Update {
    let first = 0x0a80_0000 + index * ENDPOINTS;
    let mut addresses: Vec<_> = (first + 1..first + ENDPOINTS).map(address).collect();
    addresses.push(address(0x0b00_0000 + turn * SERVICES + index));
    Update::Apply(Object::EndpointSlice(Arc::new(EndpointSlice {
        meta: meta(index, format!("service-{index}-x")),
        service: format!("service-{index}"),
        addresses,
        ports: vec![SlicePort {
            name: "http".to_owned(),
            number: 8080,
            transport: Transport::Tcp,
        }],
    })))
}

fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes = kilobytes.and_then(|text| text.parse::<usize>().ok());
    kilobytes.expect("proc(5): VmRSS in kB") >> 10
}

/// With a Service that only its namespace sees, no two namespaces have the same view.
fn measure(name: &str, has_private: bool) {
    let start = Instant::now();
    let mut registry = Registry::new(Settings::default());
    for index in 0..SERVICES {
        let is_private = has_private && index < NAMESPACES;
        let export_to: &[ExportTo] = if is_private { &[ExportTo::Own] } else { &[] };
        registry.apply(service(index, export_to));
        registry.apply(slice(index, 0));
    }
    for index in 0..250 {
        let namespace = Namespace::new(&format!("ns-{}", index % NAMESPACES));
        let mut workload = Workload::new(namespace, &format!("w{index}"), Labels::new());
        workload.has_proxy = true;
        registry.apply(Update::Workload(CgroupId(u64::from(index)), workload));
    }
    let desired = registry.desired();
    let mut applied = diff(&Applied::default(), &desired).after;
    let compile = start.elapsed();
    let rules = |scopes: &Applied| scopes.scopes.values().map(|rules| rules.len()).sum::<usize>();
    let (policies, before) = (desired.policies.len(), rules(&applied));
    drop(desired);
    let memory_before = memory();
    let mut times = Vec::new();
    for turn in 1..=CHANGES {
        let start = Instant::now();
        registry.apply(slice(turn * 37 % SERVICES, turn));
        let plan = diff(&applied, &registry.desired());
        times.push(start.elapsed());
        // One endpoint goes and one comes, each with HBONE.
        assert_eq!(plan.changes.len(), 4, "nothing but the endpoint changes");
        applied = plan.after;
    }
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
    let grown = memory().saturating_sub(memory_before);
    println!("{name}: {policies} policies, {before} rules");
    println!(
        "  from nothing {compile:?}, memory {memory_before} MB, {grown} MB more after {CHANGES} changes"
    );
    println!("  a changed endpoint {median:?}, the slowest {slowest:?}");
    assert_eq!(rules(&applied), before, "as many go as come");
    assert!(
        median < Duration::from_millis(10),
        "half of what 50 changes a second leave"
    );
    assert!(grown < 16, "memory does not grow");
}

fn main() {
    measure("2,000 public Services", false);
    measure("the same, one private in each namespace", true);
}
