//! The pods of the node, and their enforcement mode.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use enforcer_core::{
    istio::{LabelExpression, LabelOperator, LabelSelector},
    model::{self, Namespace},
    pods::{self, Scope, Tree},
    settings::Allowance,
};

use super::{
    cgroup::CgroupPath,
    enums::{Enforcement, PodLabels, PodMode, Proxies},
    error::Findings,
    raw::{At, RawBuiltIn, RawLabelExpression, RawLabelOperator, RawLabelSelector, RawPods},
    workloads::namespace,
};

/// The namespaces that Istio never captures, and its own.
const EXCLUDED: [&str; 4] = ["kube-system", "kube-node-lease", "kube-public", "istio-system"];

/// Where nodes have their resolvers: the kubelet's default, and what kubeadm chooses beside systemd-resolved.
const RESOLV_CONFS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The pods of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    /// The node's name; None: taken from the environment.
    pub node: Option<String>,
    /// The kubelet's cgroups of all pods; empty: those that kubelets use by default.
    pub roots: Vec<CgroupPath>,
    /// The enforcement mode of each.
    pub scope: Scope,
    /// What a pod with a proxy may reach beside its view.
    pub proxies: Proxies,
    /// Names of containers that are off; their own cgroups are exempted.
    pub exempt: BTreeSet<String>,
    /// What every pod may reach.
    pub built_in: BuiltIn,
}

/// What every pod may reach whatever its registry view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Services of the cluster.
    pub allowances: Vec<Allowance>,
    /// Whether a pod may reach its own addresses.
    pub own_addresses: bool,
    /// The node's files with the resolvers that it gives to pods; none if nobody may ask them.
    pub resolv_confs: Vec<PathBuf>,
    /// Whether the file that the node's kubelet is told to use is another of them.
    pub asks_kubelet: bool,
}

pub(super) fn pods(raw: RawPods, mode: Enforcement, findings: &mut Findings) -> Pods {
    let roots = raw
        .cgroup_roots
        .map(|raw| roots(&raw, findings))
        .unwrap_or_default();
    let excluded = match raw.excluded_namespaces {
        None => EXCLUDED.into_iter().map(Namespace::new).collect(),
        Some(names) => names
            .iter()
            .filter_map(|name| findings.read("pods.excludedNamespaces", name, |name| namespace(name)))
            .collect(),
    };
    let exempt = raw.exempt_containers.unwrap_or_default();
    let exempt = exempt
        .iter()
        .filter_map(|name| findings.read("pods.exemptContainers", name, |name| container_name(name)))
        .collect();
    let scope = Scope {
        default: match (raw.mode, mode) {
            (Some(PodMode::Enforce), _) | (None, Enforcement::Enforce) => model::Enforcement::Enforce,
            (Some(PodMode::Audit), _) | (None, Enforcement::Audit) => model::Enforcement::Audit,
            (Some(PodMode::Off), _) => model::Enforcement::Off,
        },
        selector: selector(raw.namespace_selector.unwrap_or_default(), findings),
        excluded,
        pod_labels: match raw.pod_labels.unwrap_or_default() {
            PodLabels::Ignore => pods::PodLabels::Ignore,
            PodLabels::Tighten => pods::PodLabels::Tighten,
            PodLabels::Honour => pods::PodLabels::Honour,
        },
        honours_capture: raw.honour_capture_annotations.unwrap_or_default(),
    };
    Pods {
        node: None,
        roots,
        scope,
        proxies: raw.proxies.unwrap_or_default(),
        exempt,
        built_in: built_in(raw.built_in.unwrap_or_default(), findings),
    }
}

/// No two overlap, and each has the name of a kubepods cgroup, which determines how the names below it are read.
fn roots(raw: &At<Vec<At<String>>>, findings: &mut Findings) -> Vec<CgroupPath> {
    if raw.value.is_empty() {
        let problem = "an empty list would enforce no pod; remove the key to have the cgroups found";
        findings.value("pods.cgroupRoots", raw.line, problem.to_owned());
    }
    let mut roots: Vec<CgroupPath> = Vec::new();
    for path in &raw.value {
        let Some(root) = findings.read("pods.cgroupRoots", path, |path| root(path)) else {
            continue;
        };
        let overlaps = |other: &&CgroupPath| root.is_within(other) || other.is_within(&root);
        match roots.iter().find(overlaps) {
            Some(other) => {
                let problem = format!("{root} and {other} overlap; a kubelet's pods lie below one cgroup");
                findings.value("pods.cgroupRoots", path.line, problem);
            }
            None => roots.push(root),
        }
    }
    roots
}

fn root(path: &str) -> Result<CgroupPath, String> {
    let root = CgroupPath::parse(path)?;
    let name = root.as_str().rsplit('/').next().unwrap_or_default();
    if Tree::of(name).is_none() {
        return Err(format!(
            "{path:?} is not a kubelet's cgroup of pods, whose name is \"kubepods\", \"kubepods.slice\" or \
             \"…-kubepods.slice\""
        ));
    }
    let levels = enforcer_common::Settings::DEPTH_LIMIT - pods::LEVELS;
    if root.depth() > levels as usize {
        return Err(format!("{path:?} is too deep; at most {levels} levels"));
    }
    Ok(root)
}

fn selector(raw: RawLabelSelector, findings: &mut Findings) -> LabelSelector {
    let expressions = raw.match_expressions.unwrap_or_default();
    let expressions = expressions
        .iter()
        .filter_map(|raw| findings.read("pods.namespaceSelector.matchExpressions", raw, expression));
    LabelSelector {
        expressions: expressions.collect(),
        labels: raw.match_labels.unwrap_or_default(),
    }
}

fn expression(raw: &RawLabelExpression) -> Result<LabelExpression, String> {
    let values = raw.values.clone().unwrap_or_default();
    let operator = match (raw.operator, values.is_empty()) {
        (RawLabelOperator::In, false) => LabelOperator::In(values),
        (RawLabelOperator::NotIn, false) => LabelOperator::NotIn(values),
        (RawLabelOperator::Exists, true) => LabelOperator::Exists,
        (RawLabelOperator::DoesNotExist, true) => LabelOperator::DoesNotExist,
        (RawLabelOperator::In | RawLabelOperator::NotIn, true) => {
            return Err(format!("{:?} needs `values`", raw.key));
        }
        (RawLabelOperator::Exists | RawLabelOperator::DoesNotExist, false) => {
            return Err(format!("{:?} does not compare values; remove `values`", raw.key));
        }
    };
    Ok(LabelExpression {
        key: raw.key.clone(),
        operator,
    })
}

fn built_in(raw: RawBuiltIn, findings: &mut Findings) -> BuiltIn {
    let addresses = raw.cluster_dns_addresses.unwrap_or_default();
    let addresses: BTreeSet<_> = addresses
        .iter()
        .filter_map(|text| findings.read("pods.builtIn.clusterDnsAddresses", text, |text| address(text)))
        .collect();
    let mut allowances = Vec::new();
    if raw.cluster_dns.unwrap_or(true) {
        allowances.push(Allowance::cluster_dns(addresses));
    }
    if raw.kubernetes_api.unwrap_or(true) {
        allowances.push(Allowance::api_server());
    }
    let named = raw
        .node_resolv_conf
        .and_then(|path| findings.read("pods.builtIn.nodeResolvConf", &path, |path| on_node(path)));
    let asks_kubelet = named.is_none() && raw.node_dns.unwrap_or(true);
    let resolv_confs = if raw.node_dns.unwrap_or(true) {
        named.map_or_else(|| RESOLV_CONFS.map(PathBuf::from).into(), |path| vec![path])
    } else {
        Vec::new()
    };
    BuiltIn {
        allowances,
        own_addresses: raw.own_addresses.unwrap_or(true),
        resolv_confs,
        asks_kubelet,
    }
}

fn on_node(path: &str) -> Result<PathBuf, String> {
    let absolute = PathBuf::from(path);
    if absolute.is_absolute() {
        Ok(absolute)
    } else {
        Err(format!("{path:?} is not an absolute path of the node"))
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if !address.is_unspecified() && !address.is_multicast() => Ok(address),
        _ => Err(format!("{text:?} is not the address of one resolver")),
    }
}

/// A node's name is a DNS subdomain (RFC 1123).
pub(super) fn node_name(name: &str) -> Result<String, String> {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c);
    if (1..=253).contains(&name.len()) && name.bytes().all(is_inner) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "{name:?} is not a node's name: lower-case letters, digits, hyphens and dots, at most 253"
        ))
    }
}

fn container_name(name: &str) -> Result<String, String> {
    // A container's name is a DNS label, as a namespace's is.
    namespace(name).map(|name| name.as_str().to_owned()).map_err(|_| {
        format!(
            "{name:?} is not a container's name: lower-case letters, digits and inner hyphens, at most 63"
        )
    })
}
