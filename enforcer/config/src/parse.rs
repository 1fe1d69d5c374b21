//! Checks the raw types and converts them to [`Config`]. Collects every error, so that a user can fix all at once.

use std::path::{Path, PathBuf};

use enforcer_common::maps;
use enforcer_core::{capacity::Capacities, istio::OutboundMode, model::Namespace};

use super::{
    config::{Config, Kubernetes, Sockets},
    dns::dns,
    error::{ConfigError, Findings},
    metrics, moved,
    observe::observe,
    pods::{self, Pods},
    raw::{At, Raw, RawCapacities, RawKubernetes, RawMode, RawSockets},
    ui,
    units::absolute,
    workloads,
};

const BPFFS: &str = "/sys/fs/bpf";
const STATE: &str = "/run/enforcer";
const MESH_NAMESPACE: &str = "istio-system";
/// More entries than any node should spend memory on; the kernel allocates hash maps up front.
const CAPACITY_LIMIT: u32 = 1 << 24;

/// The configuration whose file is in `folder`.
pub(super) fn config(mut raw: Raw, folder: &Path) -> Result<Config, Vec<ConfigError>> {
    let mut findings = Findings::default();
    moved::settle(&mut raw, &mut findings);
    let node = raw.node.take();
    let node = node.and_then(|node| findings.read("node", &node, |name| pods::node_name(name)));
    let sources = raw.registry.unwrap_or_default();
    let files = sources.files.unwrap_or_default();
    let kubernetes = sources
        .kubernetes
        .map(|raw| kubernetes(&raw, folder, &mut findings))
        .map(|kubernetes| Kubernetes {
            node: node.clone(),
            ..kubernetes
        });
    let registry = files
        .iter()
        .filter_map(|file| findings.read("registry.files", file, |file| beside(folder, file)))
        .collect();
    let outbound = match raw
        .outbound_traffic_policy
        .unwrap_or_default()
        .mode
        .unwrap_or_default()
    {
        RawMode::RegistryOnly => OutboundMode::RegistryOnly,
        RawMode::AllowAny => OutboundMode::AllowAny,
    };
    let found = workloads::workloads(raw.workloads.unwrap_or_default(), &mut findings);
    let roots = workloads::roots(raw.roots, &found, &mut findings);
    let mut path =
        |key, raw: Option<At<String>>| raw.and_then(|raw| findings.read(key, &raw, |path| absolute(path)));
    let bpffs = path("bpffs", raw.bpffs).unwrap_or_else(|| BPFFS.into());
    let state = path("state", raw.state).unwrap_or_else(|| STATE.into());
    let cgroup_mount = path("cgroupMount", raw.cgroup_mount);
    let raw_mode = raw.mode.unwrap_or_default();
    let pods = raw.pods.map(|raw| pods::pods(raw, raw_mode, &mut findings));
    let pods = pods.map(|pods| Pods { node, ..pods });
    let config = Config {
        registry,
        kubernetes,
        outbound,
        enforcement: raw_mode,
        workloads: found.into_iter().map(|(_, workload)| workload).collect(),
        roots,
        pods,
        unknown_workloads: raw.unknown_workloads.unwrap_or_default(),
        dns: dns(raw.dns.unwrap_or_default(), &mut findings),
        errno: raw.deny.unwrap_or_default().errno.unwrap_or_default(),
        matching: raw.matching.unwrap_or_default(),
        udp: raw.udp.unwrap_or_default(),
        revoke: raw.revoke.unwrap_or(true),
        sockets: sockets(&raw.sockets.unwrap_or_default()),
        bpffs,
        state,
        cgroup_mount,
        capacities: capacities(raw.capacities.unwrap_or_default(), &mut findings),
        observe: observe(&raw.observe.unwrap_or_default(), &mut findings),
        ui: raw.ui.map(|raw| ui::ui(&raw, folder, &mut findings)),
        metrics: raw.metrics.and_then(|raw| metrics::metrics(&raw, &mut findings)),
        revision: raw
            .revision
            .and_then(|revision| findings.read("revision", &revision, |name| filled(name))),
        warnings: Vec::new(),
    };
    let warnings = findings.take_warnings();
    findings.or(Config { warnings, ..config })
}

fn kubernetes(raw: &RawKubernetes, folder: &Path, findings: &mut Findings) -> Kubernetes {
    let kubeconfig = raw.kubeconfig.as_ref();
    let kubeconfig = kubeconfig.and_then(|file| {
        findings.read("registry.kubernetes.kubeconfig", file, |file| {
            beside(folder, file)
        })
    });
    let mut name = |key, raw: &Option<At<String>>| {
        let raw = raw.as_ref();
        raw.and_then(|raw| findings.read(key, raw, |name| filled(name)))
    };
    let context = name("registry.kubernetes.context", &raw.context);
    let mesh_namespace = raw.mesh_namespace.as_ref();
    let mesh_namespace = mesh_namespace.and_then(|raw| {
        findings.read("registry.kubernetes.meshNamespace", raw, |name| {
            workloads::namespace(name)
        })
    });
    Kubernetes {
        kubeconfig,
        context,
        node: None,
        mesh_namespace: mesh_namespace.unwrap_or_else(|| Namespace::new(MESH_NAMESPACE)),
    }
}

fn capacities(raw: RawCapacities, findings: &mut Findings) -> Capacities {
    let mut entries = |key, raw: Option<At<u32>>, default| {
        let read = |entries: &u32| match *entries {
            entries @ 1..=CAPACITY_LIMIT => Ok(entries),
            entries => Err(format!(
                "{entries} is out of range; it is a number from 1 to {CAPACITY_LIMIT}"
            )),
        };
        raw.and_then(|raw| findings.read(key, &raw, read))
            .unwrap_or(default)
    };
    Capacities {
        workloads: entries("capacities.workloads", raw.workloads, maps::WORKLOADS_CAPACITY),
        policies: entries("capacities.policies", raw.policies, maps::POLICIES_CAPACITY),
        exact: entries("capacities.exact", raw.exact, maps::EXACT_CAPACITY),
        prefixes: entries("capacities.prefixes", raw.prefixes, maps::PREFIXES_CAPACITY),
        ports: entries("capacities.ports", raw.ports, maps::PORTS_CAPACITY),
        hosts: entries("capacities.hosts", raw.hosts, maps::HOSTS_CAPACITY),
    }
}

fn sockets(raw: &RawSockets) -> Sockets {
    Sockets {
        raw: raw.raw.unwrap_or_default(),
        icmp: raw.icmp.unwrap_or_default(),
        sctp: raw.sctp.unwrap_or_default(),
        udplite: raw.udplite.unwrap_or_default(),
        packet: raw.packet.unwrap_or_default(),
    }
}

fn beside(folder: &Path, path: &str) -> Result<PathBuf, String> {
    Ok(folder.join(filled(path)?))
}

fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("is empty; remove the key instead".to_owned())
    } else {
        Ok(text.to_owned())
    }
}
