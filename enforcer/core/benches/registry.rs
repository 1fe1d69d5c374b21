//! How long the registry takes, and how much memory: 10,000 ServiceEntries in 100 namespaces, seen by 250
//! workloads. Run with `cargo bench -p enforcer-core --bench registry`; it fails if a goal is missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use enforcer_core::{
    istio::{
        EgressHost, EgressListener, EgressNamespace, ExportTo, Meta, Object, Resolution, ServiceEntry,
        ServicePort, Sidecar,
    },
    model::{CgroupId, Destination, Host, Labels, Namespace, Protocol, Transport, Workload},
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings::Settings,
};

const ENTRIES: u32 = 10_000;
const NAMESPACES: u32 = 100;
const WORKLOADS: u32 = 250;

/// Resident memory of this process in MB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|text| text.parse::<usize>().ok())
        .expect("proc(5): VmRSS in kB")
        >> 10
}

/// What is measured: who exports what, and who trims.
struct Scenario {
    name: &'static str,
    export_to: Vec<ExportTo>,
    has_sidecars: bool,
}

fn meta(namespace: u32, name: String) -> Meta {
    Meta {
        namespace: Namespace::new(&format!("ns-{namespace}")),
        name,
        labels: Labels::new(),
        annotations: Labels::new(),
        created: Some(i64::from(namespace)),
    }
}

fn host(index: u32) -> Host {
    Host::new(&format!("service-{index}.example.com"))
}

fn address(index: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0b00_0000 + index).into()
}

fn port(number: u16, name: &str, protocol: Protocol) -> ServicePort {
    ServicePort {
        number,
        name: name.to_owned(),
        protocol,
        target: None,
    }
}

/// Two rules: two ports at the address that the host resolves to.
fn entry(index: u32, export_to: &[ExportTo]) -> Object {
    Object::ServiceEntry(Arc::new(ServiceEntry {
        meta: meta(index % NAMESPACES, format!("entry-{index}")),
        hosts: vec![host(index)],
        addresses: Vec::new(),
        ports: vec![
            port(443, "tls", Protocol::Tls),
            port(5432, "tcp-db", Protocol::Tcp),
        ],
        resolution: Resolution::Dns,
        endpoints: Vec::new(),
        selector: None,
        export_to: export_to.to_vec(),
        allocated: BTreeMap::new(),
    }))
}

/// Imports its own namespace and another one.
fn sidecar(namespace: u32) -> Object {
    let import = |namespace| EgressHost {
        imports: true,
        namespace,
        host: Host::new("*"),
    };
    let other = Namespace::new(&format!("ns-{}", (namespace + 1) % NAMESPACES));
    Object::Sidecar(Arc::new(Sidecar {
        meta: meta(namespace, "default".to_owned()),
        selector: None,
        egress: vec![EgressListener {
            port: None,
            hosts: vec![
                import(EgressNamespace::Own),
                import(EgressNamespace::Named(other)),
            ],
            is_bound: false,
        }],
        mode: None,
    }))
}

fn resolved(index: u32, at: u32) -> Update {
    Update::Resolved {
        host: host(index),
        addresses: BTreeSet::from([address(at)]),
    }
}

fn fill(scenario: &Scenario) -> Registry {
    let mut registry = Registry::new(Settings::default());
    for index in 0..ENTRIES {
        registry.apply(Update::Apply(entry(index, &scenario.export_to)));
        registry.apply(resolved(index, index));
    }
    for namespace in 0..NAMESPACES {
        if scenario.has_sidecars {
            registry.apply(Update::Apply(sidecar(namespace)));
        } else {
            // It overrides one host of another namespace.
            let host = (namespace + 7) % NAMESPACES;
            let mut own = entry(host, &[ExportTo::Own]);
            if let Object::ServiceEntry(entry) = &mut own {
                Arc::make_mut(entry).meta = meta(namespace, "override".to_owned());
            }
            registry.apply(Update::Apply(own));
        }
    }
    for index in 0..WORKLOADS {
        registry.apply(Update::Workload(
            CgroupId(u64::from(index)),
            Workload::new(
                Namespace::new(&format!("ns-{}", index % NAMESPACES)),
                &format!("workload-{index}"),
                Labels::new(),
            ),
        ));
    }
    registry
}

/// Median and longest of several runs of `change`, each with the plan it leads to. The longest says more
/// of what else the machine does than of the registry.
fn times(registry: &mut Registry, change: impl Fn(u32) -> Update) -> (Duration, Duration) {
    let mut times = Vec::new();
    let mut applied = diff(&Applied::default(), &registry.desired()).after;
    for index in 0..50 {
        let before = registry.desired();
        let update = change(index);
        let start = Instant::now();
        registry.apply(update);
        let after = registry.desired();
        let names = registry.hosts();
        let plan = diff(&applied, &after);
        times.push(start.elapsed());
        assert!(!plan.changes.is_empty(), "the change changes the maps");
        applied = plan.after;
        assert!(!Arc::ptr_eq(&before, &after), "the change changes the policies");
        drop(names);
    }
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

fn measure(scenario: &Scenario) {
    let start = Instant::now();
    let mut registry = fill(scenario);
    let desired = registry.desired();
    let names = registry.hosts().len();
    let plan = diff(&Applied::default(), &desired);
    let compile = start.elapsed();
    assert_eq!(plan.after.policies.len(), desired.policies.len());
    let memory = memory();
    let own: usize = desired.policies.iter().map(|policy| policy.own.len()).sum();
    println!(
        "{}: {} policies, {} shared rules, {own} own, {names} names",
        scenario.name,
        desired.policies.len(),
        desired.shared.values().map(|rules| rules.len()).sum::<usize>(),
    );
    drop(desired);

    let resolve = times(&mut registry, |index| resolved(index * 199, ENTRIES + index));
    let replace = times(&mut registry, |index| {
        let mut entry = entry(index * 199 + 1, &scenario.export_to);
        if let Object::ServiceEntry(entry) = &mut entry {
            Arc::make_mut(entry).ports.pop();
        }
        Update::Apply(entry)
    });
    let start = Instant::now();
    let asked: u32 = 200;
    for index in 0..asked {
        let destination = Destination::new(Transport::Tcp, address(index * 31), 9999);
        let explanation = registry.explain(CgroupId(0), destination);
        assert!(explanation.suggestion.is_some(), "nothing declares the port");
    }
    let explain = start.elapsed() / asked;
    println!("  from nothing {compile:?}, memory {memory} MB");
    println!(
        "  changed answer {resolve:?}, changed entry {replace:?} (median and slowest of 50), explain {explain:?}"
    );
    assert!(compile < Duration::from_secs(1), "from nothing in less than 1 s");
    assert!(
        resolve.0.max(replace.0) < Duration::from_millis(5),
        "a change in less than 5 ms"
    );
    assert!(memory < 60, "less than 60 MB");
}

fn main() {
    for scenario in [
        Scenario {
            name: "all public, one override a namespace",
            export_to: Vec::new(),
            has_sidecars: false,
        },
        Scenario {
            name: "all private, one override a namespace",
            export_to: vec![ExportTo::Own],
            has_sidecars: false,
        },
        Scenario {
            name: "all public, a Sidecar in each namespace",
            export_to: Vec::new(),
            has_sidecars: true,
        },
    ] {
        measure(&scenario);
    }
}
